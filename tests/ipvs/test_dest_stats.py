"""Counters of real servers, and their thresholds."""

from __future__ import annotations

import pytest

from ipvs.dest import DEST_SIZE, STATS_SIZE, Dest, DestStats
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


def packet(number, flags="S", payload=b""):
    layer = oracle.segment("tcp", 1000 + number, 80, flags, payload)
    return oracle.frame((GATEWAY_MAC, WAN_MAC), (CLIENT, VIP), layer)


def stats(rig, number=0):
    return DestStats(rig.w.dest_stats + number * STATS_SIZE)


def balancer(*dests, **changes):
    rig = network(Rig(now=0))
    service(rig, list(dests) or [dest(0, mode="nat", port=80)], **changes)
    return rig


def send(rig, now, *frames):
    rig.push(0, *frames)
    return rig.at(now)[1]


@pytest.mark.parametrize("padding", [0, 6])
def test_packets_and_bytes_of_ip_by_direction(padding):
    """Bytes are those of IP packets (total length), whatever frame they came in."""
    rig = balancer()
    send(rig, 0, packet(1) + bytes(padding))
    send(rig, 0, packet(1, "A", b"12345"))
    layer = oracle.segment("tcp", 80, 1001, "A", b"123")
    rig.push(1, oracle.frame((SERVER_MACS[0], LAN_MAC), (SERVERS[0], CLIENT), layer))
    rig.at(0)
    s = stats(rig)
    assert list(s.packets) == [2, 1]
    assert list(s.bytes) == [40 + 45, 43]
    assert s.conns == 1


def test_dropped_packets_are_not_counted():
    rig = balancer()
    send(rig, 0, packet(1), packet(1, "SF"), packet(2, "A"))
    assert list(stats(rig).packets) == [1, 0]


def test_counters_survive_an_edit_of_the_service():
    rig = balancer()
    send(rig, 0, packet(1))
    service(rig, [dest(0, mode="nat", port=80, weight=5)])
    send(rig, 0, packet(1, "A"))
    s = stats(rig)
    assert (list(s.packets), s.conns, s.active, s.inactive) == ([2, 0], 1, 1, 0)


def test_upper_threshold():
    """At its limit a server gets nothing new until a connection ended; known ones go on."""
    rig = balancer(dest(0, u_thresh=3))
    assert len(send(rig, 0, *[packet(n) for n in range(5)])) == 3
    assert rig.drops() == {"no_dest": 2}
    assert stats(rig).overload == 1
    assert len(send(rig, 0, packet(0, "A"))) == 1
    assert send(rig, 1000, packet(9)) == []
    rig.at(33_000)
    assert (stats(rig).active, stats(rig).inactive, stats(rig).overload) == (1, 0, 0)
    assert len(send(rig, 33_000, packet(9))) == 1


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "wlc"])
def test_others_take_what_a_full_server_cannot(scheduler):
    rig = balancer(dest(0, u_thresh=2), dest(1), sched=scheduler)
    outs = send(rig, 0, *[packet(n) for n in range(10)])
    assert len(outs) == 10
    assert [tuple_of(raw).dst for raw in outs].count(SERVERS[0]) == 2


def test_threshold_raised_lowered_and_removed():
    rig = balancer(dest(0, u_thresh=1))
    assert len(send(rig, 0, packet(1), packet(2))) == 1
    service(rig, [dest(0, u_thresh=2)])
    assert stats(rig).overload == 0
    assert len(send(rig, 0, packet(2), packet(3))) == 1
    service(rig, [dest(0, u_thresh=1)])
    assert stats(rig).overload == 1
    service(rig, [dest(0)])
    assert len(send(rig, 0, packet(3), packet(4))) == 2


@pytest.mark.parametrize(("total", "share"), [(10, 2), (3, 1), (1, 1), (0, 0)])
def test_threshold_is_shared_among_workers(total, share):
    rig = network(Rig(workers=4), laddrs=())
    service(rig, [dest(0, u_thresh=total)])
    assert Dest(rig.w.dests).upper == share


def test_inhibited_server_gets_nothing_new():
    rig = balancer(dest(0), dest(1))
    first = send(rig, 0, *[packet(n) for n in range(2)])
    service(rig, [dest(0, inhibited=True), dest(1)])
    outs = send(rig, 0, *[packet(n) for n in range(2, 6)])
    assert {tuple_of(raw).dst for raw in outs} == {SERVERS[1]}
    assert len(send(rig, 0, packet(0, "A"), packet(1, "A"))) == len(first) == 2


@pytest.mark.parametrize("how", ["removed", "weight 0"])
def test_expire_quiescent_ends_connections(how):
    left = [] if how == "removed" else [dest(0, weight=0)]
    for flags, goes_on in (([], True), (["expire_quiescent"], False)):
        rig = balancer(dest(0), flags=flags)
        send(rig, 0, packet(1), packet(1, "A"))
        service(rig, left, flags=flags)
        assert bool(send(rig, 0, packet(1, "A"))) == goes_on
        assert rig.applier.connections() == goes_on
        assert (stats(rig).active, stats(rig).inactive) == (goes_on, 0)
        assert rig.drops() == ({} if goes_on else {"dest_gone": 1})
        assert rig.in_flight() == 0


def test_connections_of_a_removed_service_end_in_their_time():
    rig = balancer(dest(0))
    send(rig, 0, packet(1))
    rig.apply("svc.del", id=0)
    assert len(send(rig, 0, packet(1))) == 1
    assert send(rig, 0, packet(2)) == []
    assert rig.drops() == {"no_service": 1}
    rig.at(33_000)
    assert rig.applier.connections() == stats(rig).inactive == 0
    assert not Dest(rig.w.dests + 0 * DEST_SIZE).present
