"""Two workers: packets that arrive at the one that does not own their connection."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IPOption

from ipvs.handover import client_owner
from tests import oracle
from tests.rig import Rig, crew
from tests.topology import (
    GATEWAY_MAC,
    LAN_MAC,
    LOCAL,
    SERVER_MACS,
    SERVERS,
    VIP,
    WAN_MAC,
    dest,
    network,
    service,
)
from tests.wire import Tuple, tuple_of

CLIENT = "203.0.113.7"
CLIENT_NUMBER = 0xCB007107


def pair(workers=2, slots=64, now=None, **changes):
    """Workers with rings between them and one service."""
    rigs = crew(Rig, workers, slots, now=now)
    mode = changes.pop("mode", "fullnat")
    for rig in rigs:
        network(rig)
        service(rig, [dest(i, mode=mode) for i in range(4)], **changes)
    return rigs


def syn(number, flags="S", payload=b""):
    layer = oracle.segment("tcp", 1000 + number, 80, flags, payload)
    return oracle.frame((GATEWAY_MAC, WAN_MAC), (CLIENT, VIP), layer)


def answer(out, flags="SA"):
    """What the server says to a frame it got."""
    t = tuple_of(out)
    macs = (SERVER_MACS[SERVERS.index(t.dst)], LAN_MAC)
    return oracle.frame(macs, (t.dst, t.src), oracle.segment("tcp", t.dport, t.sport, flags))


def clean(rigs):
    assert rigs[0].in_flight() == 0
    assert [rig.drops() for rig in rigs] == [{}] * len(rigs)


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_fullnat_reply_at_the_wrong_worker(workers):
    rigs = pair(workers)
    for owner in rigs:
        _, (out,) = owner.exchange(0, syn(owner.worker.index))
        reply = answer(out)
        for other in rigs:
            wan, lan = other.exchange(1, reply)
            if other is not owner:
                assert (wan, lan) == ([], [])
                wan, lan = owner.run()
            t = ((VIP, 80), (CLIENT, 1000 + owner.worker.index))
            assert (wan, lan) == ([oracle.rewritten(reply, (WAN_MAC, GATEWAY_MAC), *t)], [])
    assert [rig.w.handed_out for rig in rigs] == [workers - 1] * workers
    assert [rig.w.handed_in for rig in rigs] == [workers - 1] * workers
    clean(rigs)


def test_nat_belongs_to_the_clients_owner():
    """Wherever the client's and the server's packets arrive, one worker has the connection."""
    rigs = pair(mode="nat")
    for number in range(24):
        owner = rigs[client_owner(CLIENT_NUMBER, 1000 + number, 2)]
        outs = []
        for arrives in rigs:
            outs += arrives.exchange(0, syn(number))[1]
            if arrives is not owner:
                outs += owner.run()[1]
        assert len(outs) == 2 and outs[0] == outs[1]
        assert tuple_of(outs[0])[::2] == (CLIENT, 1000 + number)
        for arrives in rigs:
            wan, _ = arrives.exchange(1, answer(outs[0]))
            if arrives is not owner:
                assert wan == []
                wan, _ = owner.run()
            assert [tuple_of(raw) for raw in wan] == [Tuple(VIP, CLIENT, 80, 1000 + number)]
    counts = [rig.applier.connections() for rig in rigs]
    assert sum(counts) == 24 and min(counts) > 0
    clean(rigs)


def test_client_owners_are_spread_evenly():
    for workers in (2, 3, 7):
        counts = [0] * workers
        for n in range(700):
            counts[client_owner(0x0A000000 + n % 70, 1024 + n, workers)] += 1
        assert min(counts) > 700 / workers * 0.7


def test_packet_handed_over_is_not_handed_on():
    """A reply without connection goes to its owner and ends there."""
    rigs = pair()
    macs = (SERVER_MACS[0], LAN_MAC)
    for local_port in (2000, 2001):
        raw = oracle.frame(macs, (SERVERS[0], LOCAL), oracle.segment("tcp", 80, local_port, "SA"))
        for rig in rigs:
            rig.exchange(1, raw)
        for rig in rigs * 2:
            assert rig.run() == [[], []]
    assert [rig.drops() for rig in rigs] == [{"handover_lost": 1, "no_service": 1}] * 2
    assert rigs[0].in_flight() == 0


def test_full_ring_drops_by_name():
    rigs = pair(slots=4)
    _, outs = rigs[0].exchange(0, *[syn(n) for n in range(6)])
    rigs[1].exchange(1, *[answer(out) for out in outs])
    assert rigs[1].drops() == {"handover_full": 2}
    wan, _ = rigs[0].run()
    assert len(wan) == 4
    assert rigs[0].in_flight() == 0


def test_order_is_kept_across_the_ring():
    rigs = pair()
    _, (out,) = rigs[0].exchange(0, syn(0))
    t = tuple_of(out)
    macs = (SERVER_MACS[0], LAN_MAC)
    frames = [
        oracle.frame(
            macs, (t.dst, t.src), oracle.segment("tcp", t.dport, t.sport, "A", b"%02d" % n)
        )
        for n in range(40)
    ]
    sent = []
    for at in (0, 20):
        rigs[1].exchange(1, *frames[at : at + 20])
        sent += rigs[0].run()[0]
    assert [raw[-2:] for raw in sent] == [b"%02d" % n for n in range(40)]
    clean(rigs)


def test_options_are_handed_over_too():
    rigs = pair()
    _, (out,) = rigs[0].exchange(0, syn(0))
    t = tuple_of(out)
    raw = oracle.frame(
        (SERVER_MACS[0], LAN_MAC),
        (t.dst, t.src),
        oracle.segment("tcp", t.dport, t.sport, "SA"),
        options=[IPOption(b"\x01\x01\x01\x01")],
    )
    assert rigs[1].exchange(1, raw) == [[], []]
    wan, _ = rigs[0].run()
    assert wan == [oracle.rewritten(raw, (WAN_MAC, GATEWAY_MAC), (VIP, 80), (CLIENT, 1000))]
    clean(rigs)


def test_workers_never_use_the_same_local_port():
    rigs = pair()
    tuples = []
    for rig in rigs:
        _, outs = rig.exchange(0, *[syn(n) for n in range(40)])
        tuples += [tuple_of(out) for out in outs]
    assert len(set(tuples)) == 80
    assert {t.sport % 2 for t in tuples[:40]} == {0}
    assert {t.sport % 2 for t in tuples[40:]} == {1}
    clean(rigs)
