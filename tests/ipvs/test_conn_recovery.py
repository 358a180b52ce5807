"""A worker that starts on the connection table of one that was killed."""

from __future__ import annotations

import ctypes

import pytest

from ipvs.dest import STATS_SIZE, DestStats
from ipvs.entry import Entry
from ipvs.laddr import LaddrStats
from ipvs.sctp_states import SCTP_STATES
from ipvs.table import Table, entry_of
from ipvs.tcp import TCP_STATES
from tests import oracle
from tests.rig import Rig
from tests.topology import (
    GATEWAY_MAC,
    LAN_MAC,
    SERVER_MACS,
    SERVERS,
    VIP,
    WAN_MAC,
    dest,
    network,
    service,
)
from tests.wire import tuple_of

CLIENT = "203.0.113.7"
PORTS = 65535 - 1025 + 1


def configure(rig, mode="fullnat"):
    """What the master replicates to every worker that starts."""
    network(rig)
    service(rig, [dest(i, mode=mode) for i in range(4)])
    return rig


def successor(rig, now=0, mode="fullnat", **changes):
    """A new worker on the shared memory of a dead one."""
    new = Rig(memory=rig.shared, table_memory=rig.table_memory, now=now, **changes)
    return configure(new, mode)


def packet(number, flags="S"):
    layer = oracle.segment("tcp", 1000 + number, 80, flags)
    return oracle.frame((GATEWAY_MAC, WAN_MAC), (CLIENT, VIP), layer)


def answer(out, flags="SA"):
    t = tuple_of(out)
    macs = (SERVER_MACS[SERVERS.index(t.dst)], LAN_MAC)
    return oracle.frame(macs, (t.dst, t.src), oracle.segment("tcp", t.dport, t.sport, flags))


def opened(count, mode="fullnat", established=0):
    """A worker with ``count`` connections and the frames its servers got."""
    rig = configure(Rig(now=0), mode)
    rig.push(0, *[packet(n) for n in range(count)])
    _, outs = rig.at(0, rounds=1 + count // 32)
    rig.push(0, *[packet(n, "A") for n in range(established)])
    rig.at(10, rounds=1 + established // 32)
    assert len(outs) == count
    return rig, outs


def counts(rig):
    stats = [DestStats(rig.w.dest_stats + i * STATS_SIZE) for i in range(4)]
    return [(s.conns, s.active, s.inactive) for s in stats]


@pytest.mark.parametrize("mode", ["fullnat", "nat"])
def test_connections_go_on_in_both_directions(mode):
    old, outs = opened(40, mode, established=20)
    before = counts(old)
    new = successor(old, 1000, mode)
    assert new.worker.recovered == new.applier.connections() == 40
    assert counts(new) == before
    for number, out in enumerate(outs):
        new.push(0, packet(number, "A"))
        _, (again,) = new.at(1000)
        assert tuple_of(again) == tuple_of(out)
        new.push(1, answer(out))
        (back,), _ = new.at(1000)
        assert tuple_of(back) == (VIP, CLIENT, 80, 1000 + number)
    assert new.drops() == {} and new.in_flight() == 0


def test_dr_connections_keep_their_server():
    old, outs = opened(8, "dr")
    new = successor(old, mode="dr")
    for number, out in enumerate(outs):
        new.push(0, packet(number, "A"))
        assert new.at(0)[1][0][:12] == out[:12]


def test_ports_in_use_are_not_given_out_again():
    old, outs = opened(50)
    new = successor(old)
    pool = LaddrStats(new.w.laddr_stats)
    assert (pool.used, pool.free) == (50, PORTS - 50)
    new.push(0, *[packet(n) for n in range(100, 160)])
    _, more = new.at(0, rounds=2)
    tuples = {tuple_of(out) for out in outs} | {tuple_of(out) for out in more}
    assert len(tuples) == 110
    new.at(33_000, rounds=5)
    assert new.applier.connections() == 0
    assert (pool.used, pool.free) == (0, PORTS)
    assert [c[1:] for c in counts(new)] == [(0, 0)] * 4


def test_timeouts_go_on():
    """30 s in SYN_RECV, whoever watches."""
    old, _ = opened(5)
    new = successor(old, 20_000)
    new.at(29_500)
    assert new.applier.connections() == 5
    new.at(32_000)
    assert new.applier.connections() == 0


def test_connections_that_died_with_the_worker_are_ended():
    old, _ = opened(5)
    new = successor(old, 100_000)
    new.at(102_000)
    assert new.applier.connections() == 0
    assert [c[1:] for c in counts(new)] == [(0, 0)] * 4


def test_every_state_of_every_protocol_is_believed():
    """SCTP has more of them than TCP."""
    old, _ = opened(max(len(SCTP_STATES), len(TCP_STATES)))
    for state in range(len(SCTP_STATES)):
        Entry(entry_of(old.w.table, state + 1)).state = state
    assert successor(old).worker.recovered == len(SCTP_STATES)


DAMAGE = {
    "half written": {"live": 0},
    "half removed": {"live": 0x12345},
    "server beyond the table": {"dest": 60000},
    "state beyond the table": {"state": 99},
    "mode unknown": {"mode": 77},
    "local address beyond the table": {"laddr": 60000},
    "service beyond the table": {"service": 60000},
}


@pytest.mark.parametrize("changes", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_entry_is_discarded(changes):
    old, outs = opened(3)
    damaged = Entry(entry_of(old.w.table, 2))
    for name, value in changes.items():
        setattr(damaged, name, value)
    new = successor(old)
    assert new.worker.recovered == new.applier.connections() == 2
    assert sum(c[2] for c in counts(new)) == 2
    new.push(0, packet(0, "A"), packet(1, "A"), packet(2, "A"))
    _, sent = new.at(0)
    assert [tuple_of(raw) for raw in sent] == [tuple_of(outs[0]), tuple_of(outs[2])]
    assert new.drops() == {"not_syn": 1}
    assert LaddrStats(new.w.laddr_stats).used == 2
    new.push(0, packet(9))  # its entry is used again
    new.at(0)
    assert Table(new.w.table).high == 3
    assert everything_ends(new)


@pytest.mark.parametrize("replicas", [1, 4])
def test_number_of_pools_may_change(replicas):
    """Connections of a worker with 16 pools; their entries name pools there are not."""
    old = configure(Rig(now=0, replicas=16))
    old.push(0, *[packet(n) for n in range(8)])
    old.at(0)
    new = successor(old, replicas=replicas)
    pool = LaddrStats(new.w.laddr_stats)
    assert new.applier.connections() == 8
    new.at(33_000, rounds=2)
    assert new.applier.connections() == 0
    assert (pool.used, pool.free) == (0, replicas * PORTS)


def test_local_address_that_is_gone():
    """It was removed while no worker was there: its ports go nowhere."""
    old, _ = opened(3)
    new = Rig(memory=old.shared, table_memory=old.table_memory, now=0)
    assert new.applier.connections() == 3
    new.at(33_000, rounds=2)
    assert new.applier.connections() == 0


def everything_ends(rig):
    """Whether time leaves no connection, and every local port in the pool."""
    rig.at(95_000, rounds=2)
    stats = LaddrStats(rig.w.laddr_stats)
    return (rig.applier.connections(), stats.used, stats.free) == (0, 0, PORTS)


def test_two_entries_with_one_tuple():
    """No worker leaves that behind; should it be found, no port is returned twice."""
    old, _ = opened(2)
    table = old.w.table
    ctypes.memmove(entry_of(table, 2), entry_of(table, 1), 128)
    new = successor(old)
    assert new.applier.connections() in (1, 2)
    new.push(0, packet(0, "A"))
    assert len(new.at(0)[1]) == 1
    assert everything_ends(new)


def test_another_capacity_starts_empty():
    old, _ = opened(3)
    new = successor(old, capacity=512)
    assert (new.worker.recovered, new.applier.connections()) == (0, 0)
    new.push(0, packet(0))
    assert len(new.at(0)[1]) == 1


def test_recovered_twice():
    old, outs = opened(10, established=10)
    new = successor(successor(old, 100), 200)
    assert new.worker.recovered == 10
    assert sum(c[1] for c in counts(new)) == 10
    new.push(1, *[answer(out, "A") for out in outs])
    wan, _ = new.at(200)
    assert len(wan) == 10


def test_memory_too_small_is_refused():
    rig = Rig()
    with pytest.raises(ValueError, match="too few"):
        rig.worker.attach_table(ctypes.addressof(rig.table_memory), 1000, 1024)
