"""The port pools of FullNAT local addresses."""

from __future__ import annotations

import ctypes

import pytest

from ipvs.laddr import (
    LADDR_SIZE,
    Laddr,
    LaddrStats,
    fill_pools,
    give_port,
    owner_shift,
    pool_bytes,
    replica_of,
    take_port,
)
from ipvs.table import Table
from tests import oracle
from tests.rig import Rig
from tests.topology import GATEWAY_MAC, SERVERS, VIP, WAN_MAC, dest, network, service
from tests.wire import Tuple, tuple_of

ALL = 65535 - 1025 + 1


class Pool:
    """The pools of one local address, without a worker."""

    def __init__(self, replicas=1, worker=0, workers=1, held=()):
        self.keep = [
            (ctypes.c_uint8 * LADDR_SIZE)(), (ctypes.c_int64 * 4)(),
            (ctypes.c_uint8 * pool_bytes(replicas))(), (ctypes.c_uint8 * (replicas * 65536))(),
        ]  # fmt: skip
        for port in held:
            self.keep[3][port] = 1
        at = [ctypes.addressof(part) for part in self.keep]
        self.laddr, self.stats = at[0], at[1]
        self.count = fill_pools(at[0], at[1], at[2], replicas, worker, workers, 0, at[3])

    def take(self, replica=0):
        return take_port(self.laddr, self.stats, 0, replica, 0x0A000001, 80, 0)

    def give(self, port, replica=0):
        give_port(self.laddr, self.stats, replica, port)

    def counters(self):
        s = LaddrStats(self.stats)
        return s.used, s.free, s.miss


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5])
def test_workers_own_disjoint_ports(workers):
    """Worker k of n owns the ports whose low ceil(log2 n) bits are k."""
    shift = (workers - 1).bit_length()
    assert owner_shift(workers) == shift
    seen = set()
    for worker in range(workers):
        pool = Pool(worker=worker, workers=workers)
        mine = {pool.take() for _ in range(pool.count)}
        assert len(mine) == pool.count and 0 not in mine
        assert all(port & ((1 << shift) - 1) == worker for port in mine)
        assert not mine & seen
        seen |= mine
        assert pool.take() == 0
        assert pool.counters() == (pool.count, 0, 1)
    if workers == 1 << shift:
        assert seen == set(range(1025, 65536))


def test_ports_come_back_last():
    pool = Pool()
    first = [pool.take() for _ in range(5)]
    for port in reversed(first):
        pool.give(port)
    rest = [pool.take() for _ in range(ALL)]
    assert rest[-5:] == first[::-1]
    assert sorted(rest) == list(range(1025, 65536))
    assert pool.counters() == (ALL, 0, 0)


def test_round_and_round():
    """The counters of the ring go on; it never loses or doubles a port."""
    pool = Pool(worker=0, workers=64)
    for _ in range(3 * pool.count):
        pool.give(pool.take())
    assert pool.counters() == (0, pool.count, 0)
    assert len({pool.take() for _ in range(pool.count)}) == pool.count


def test_replicas_are_pools_of_their_own():
    pool = Pool(replicas=2)
    assert pool.take(0) == pool.take(1) == 1025
    assert pool.counters() == (2, 2 * ALL - 2, 0)
    pool.give(1025, 1)
    assert pool.counters() == (1, 2 * ALL - 1, 0)


def test_replica_is_chosen_by_the_real_server():
    pool = Pool()
    Laddr(pool.laddr).replicas = 16
    for address, port in ((0x0A000001, 80), (0x0A00FFFF, 65535), (0xFFFFFFFF, 1)):
        assert replica_of(pool.laddr, address, port) == ((address & 0xFFFF) + port) % 16


def test_ports_held_by_connections_found_at_start_are_left_out():
    pool = Pool(held=(1025, 65535))
    assert pool.counters() == (2, ALL - 2, 0)
    assert {pool.take() for _ in range(pool.count)} == set(range(1026, 65535))
    pool.give(1025)
    assert pool.take() == 1025


def syn(number):
    layer = oracle.segment("tcp", 1000 + number, 80, "S")
    return oracle.frame((GATEWAY_MAC, WAN_MAC), ("203.0.113.7", VIP), layer)


@pytest.mark.long
@pytest.mark.parametrize("replicas", [1, 4])
def test_no_two_connections_share_a_tuple(replicas):
    rig = network(Rig(replicas=replicas), laddrs=("198.19.0.200", "198.19.0.201"))
    service(rig, [dest(i) for i in range(4)], laddrs=[0, 1])
    sent = []
    for burst in range(0, 320, 32):
        sent += rig.exchange(0, *[syn(n) for n in range(burst, burst + 32)])[1]
    tuples = [tuple_of(raw) for raw in sent]
    assert len(tuples) == len(set(tuples)) == 320
    assert {t.src for t in tuples} == {"198.19.0.200", "198.19.0.201"}
    assert all(t == Tuple(t.src, t.dst, t.sport, 8080) and t.sport > 1024 for t in tuples)
    assert {t.dst for t in tuples} == set(SERVERS)
    pools = [LaddrStats(rig.w.laddr_stats + i * 32) for i in range(2)]
    assert [pool.used for pool in pools] == [160, 160]


def drain(rig, left):
    """Leave only ``left`` ports in the first replica of the first local address."""
    local = Laddr(rig.w.laddrs)
    for _ in range(ALL - left):
        take_port(local.ptr, rig.w.laddr_stats, rig.w.rss, 0, 1, 1, 0)


@pytest.mark.long
def test_exhausted_pool_drops_by_name_and_leaves_nothing():
    rig = network(Rig(now=0))
    service(rig, [dest(0)])
    drain(rig, 2)
    rig.push(0, *[syn(n) for n in range(3)])
    _, lan = rig.at(0)
    assert [tuple_of(raw).sport for raw in lan] == [65534, 65535]
    assert rig.drops() == {"no_port": 1}
    assert LaddrStats(rig.w.laddr_stats).miss == 1
    assert Table(rig.w.table).count == 2 and rig.in_flight() == 0
    rig.at(31_000)  # both end, their ports can be had again
    rig.push(0, *[syn(n) for n in range(3)])
    _, lan = rig.at(31_000)
    assert sorted(tuple_of(raw).sport for raw in lan) == [65534, 65535]


@pytest.mark.long
def test_second_local_address_helps_out():
    rig = network(Rig(), laddrs=("198.19.0.200", "198.19.0.201"))
    service(rig, [dest(0)], laddrs=[0, 1])
    drain(rig, 0)
    _, lan = rig.exchange(0, *[syn(n) for n in range(6)])
    assert [tuple_of(raw).src for raw in lan] == ["198.19.0.201"] * 6
    assert rig.drops() == {}


def test_service_without_local_address():
    rig = network(Rig())
    service(rig, [dest(0)], laddrs=[])
    assert rig.exchange(0, syn(1)) == [[], []]
    assert rig.drops() == {"no_laddr": 1} and Table(rig.w.table).count == 0


def test_removed_local_address_is_not_used():
    rig = network(Rig())
    service(rig, [dest(0)])
    rig.apply("laddr.del", id=0)
    assert rig.exchange(0, syn(1)) == [[], []]
    assert rig.drops() == {"no_port": 1} and Table(rig.w.table).count == 0
