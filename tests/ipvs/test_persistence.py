"""Persistence: one client network, one real server - until the template's time has passed."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP, UDP

from ipvs.persist import LAG_MS
from ipvs.templates import (
    SLOTS,
    Bucket,
    Templates,
    bucket_at,
    initialise,
    lock,
    templates_bytes,
    used_at,
)
from runtime.intrinsics import load8, load64
from tests import pathrig
from tests.memory import aligned
from tests.pathrig import (
    CLIENT_MAC,
    FAR,
    LAN,
    ROUTER_MAC,
    WAN,
    from_client,
    from_server,
    server,
    server_mac,
    syn,
)
from tests.wire import tuple_of


class Rig(pathrig.Rig):
    """One whose neighbours never have to be asked again."""

    def __init__(self, **more):
        super().__init__(static=True, **more)


def chosen(sent):
    """Index of the real server a frame went to."""
    return next(i for i in range(8) if sent[:6].hex(":") == server_mac(i))


def connect(rig, client, sport=1234, dport=80, l4=None):
    """Index of the real server that gets a client's first packet."""
    segment = l4 or TCP(sport=sport, dport=dport, flags="S")
    _, (out,) = rig.exchange(WAN, from_client(segment, src=client, mac=ROUTER_MAC))
    return chosen(out)


def templates(rig):
    """How many templates name each real server, as far as this worker's part goes."""
    counts = [load64(rig.w.dest_templates + 8 * i) for i in range(16)]
    return {i: count for i, count in enumerate(counts) if count}


def records(rig):
    """Slots in use, and buckets marked as used."""
    table = rig.w.templates
    count = Templates(table).count
    slots = sum(Bucket(bucket_at(table, n)).tag[i] != 0 for n in range(count) for i in range(SLOTS))
    return slots, sum(load8(used_at(table, n)) for n in range(count))


@pytest.mark.parametrize("mode", ["fullnat", "nat", "dr", "tunnel"])
@pytest.mark.parametrize("sched", ["rr", "wrr", "wlc"])
def test_a_client_stays_others_are_scheduled(mode, sched):
    rig = Rig()
    rig.service(mode=mode, sched=sched, dests=3, persistent=360)
    first = [connect(rig, f"203.0.113.{i}") for i in range(6)]
    assert sorted(first) == [0, 0, 1, 1, 2, 2]
    for sport in range(1, 4):
        assert [connect(rig, f"203.0.113.{i}", sport) for i in range(6)] == first
    assert templates(rig) == {0: 2, 1: 2, 2: 2} and records(rig)[0] == 6
    assert rig.drops() == {} and rig.clean()


@pytest.mark.parametrize(
    ("mask", "together"), [("255.255.255.0", 24), ("255.255.0.0", 16), (None, 32)]
)
def test_the_mask_says_who_belongs_together(mask, together):
    rig = Rig()
    rig.service(dests=4, persistent=360, netmask=mask)
    clients = ["203.0.113.1", "203.0.113.2", "203.0.112.1", "203.1.113.1"]
    got = [connect(rig, client) for client in clients]
    bits = [int.from_bytes(bytes(map(int, c.split("."))), "big") >> (32 - together)
            for c in clients]  # fmt: skip
    assert len(set(got)) == len(set(bits))
    for a, one in zip(bits, got, strict=True):
        for b, other in zip(bits, got, strict=True):
            assert (a == b) == (one == other)


def test_services_have_templates_of_their_own():
    rig = Rig()
    rig.service(0, dests=3, persistent=360)
    rig.service(1, port=81, dests=[{"id": 3 + i} for i in range(3)], persistent=360)
    rig.service(2, port=82, dests=[{"id": 6 + i} for i in range(3)])
    connect(rig, FAR, dport=81)
    first = [connect(rig, FAR, 1, dport) for dport in (80, 81)]
    assert [connect(rig, FAR, 2, dport) for dport in (80, 81)] == first
    assert [connect(rig, FAR, sport, 82) for sport in (1, 2, 3)] == [0, 1, 2]


def test_a_template_lives_from_the_last_connection_on():
    rig = Rig()
    rig.service(proto="udp", flags=["ops"], dests=3, persistent=100)
    datagram = UDP(sport=1, dport=80)
    first = connect(rig, FAR, l4=datagram)
    for _ in range(4):
        rig.now += 99_999
        assert connect(rig, FAR, l4=datagram) == first
    rig.now += 100_000
    assert connect(rig, FAR, l4=datagram) != first
    assert rig.clean()


def test_a_template_lives_as_long_as_its_connections():
    rig = Rig()
    rig.service(dests=3, persistent=1, conn_timeout=40)
    first = connect(rig, FAR)
    _, (out,) = rig.exchange(WAN, from_client(TCP(sport=7, dport=80, flags="S"), src=FAR))
    lport = tuple_of(out).sport
    rig.exchange(LAN, from_server(TCP(sport=8000 + first, dport=lport, flags="SA"), first))
    ack = from_client(TCP(sport=7, dport=80, flags="A"), src=FAR)
    for _ in range(12):
        rig.exchange(WAN, ack)
        rig.sleep(20_000, 1000)
    assert rig.connections() == 1
    assert connect(rig, FAR, 9) == first
    # It closes: the template ends a little after the time it was to come up.
    rig.exchange(WAN, from_client(TCP(sport=7, dport=80, flags="R"), src=FAR))
    rig.sleep(40_000 + LAG_MS + 2000, 500)
    assert rig.connections() == 0 and records(rig) == (0, 0) and templates(rig) == {}
    assert connect(rig, FAR, 10) != first
    assert rig.clean()


def test_a_server_of_weight_0_keeps_its_clients():
    rig = Rig()
    rig.service(dests=2, persistent=360)
    first = connect(rig, FAR)
    drained = [{"weight": 0 if i == first else 1} for i in range(2)]
    rig.service(dests=drained, persistent=360)
    assert connect(rig, FAR, 1) == first
    assert connect(rig, "203.0.113.77") != first
    rig.apply("param.set", template_quiescent=True)
    assert connect(rig, FAR, 2) != first
    # From then on that one is the client's, also when the first is back.
    rig.service(dests=2, persistent=360)
    assert connect(rig, FAR, 3) != first
    assert templates(rig) == {1 - first: 2}


@pytest.mark.parametrize("what", ["removed", "inhibited", "overloaded"])
def test_a_server_that_is_not_available_loses_its_clients(what):
    rig = Rig()
    rig.service(dests=2, persistent=360)
    first = connect(rig, FAR)
    dests = [{"id": i, "addr": server(i)} for i in range(2)]
    if what == "removed":
        del dests[first]
    else:
        dests[first] |= {"inhibited": 1} if what == "inhibited" else {"u_thresh": 1}
    rig.service(dests=dests, persistent=360)
    assert [connect(rig, FAR, sport) for sport in (1, 2)] == [1 - first] * 2
    assert templates(rig) == {1 - first: 1}
    assert rig.drops() == {} and rig.clean()


def test_nobody_left_to_choose():
    rig = Rig()
    rig.service(dests=[{"weight": 0}], persistent=360)
    assert rig.exchange(WAN, syn()) == [[], []]
    assert rig.drops() == {"no_dest": 1} and templates(rig) == {}


def test_the_sweep_forgets_removed_servers_and_services():
    rig = Rig()
    rig.service(0, dests=2, persistent=360)
    for i in range(20):
        connect(rig, f"203.0.113.{i}")
    rig.service(0, dests=1, persistent=360)
    rig.run()
    assert templates(rig) == {0: 10} and records(rig)[0] == 10
    rig.apply("svc.del", id=0)
    rig.run()
    assert templates(rig) == {} and records(rig) == (0, 0)


def test_persistence_that_ends_or_begins_with_an_edit():
    rig = Rig()
    rig.service(dests=3)
    assert len({connect(rig, FAR, sport) for sport in (1, 2, 3)}) == 3
    rig.service(dests=3, persistent=360)
    assert len({connect(rig, FAR, 10 + sport) for sport in range(3)}) == 1
    rig.service(dests=3)
    assert len({connect(rig, FAR, 20 + sport) for sport in range(3)}) == 3


def small_table(rig):
    """A table of 8 buckets for a rig."""
    memory, address = aligned(templates_bytes(1))
    initialise(address, 1)
    rig.worker.attach_templates(address)
    return memory


def test_a_full_table_serves_without_persistence():
    rig = Rig(capacity=4096)
    kept = small_table(rig)
    rig.service(dests=2, persistent=360, proto="udp", flags=["ops"])
    room = 8 * SLOTS
    for i in range(room + 100):
        connect(rig, f"203.0.{i >> 8}.{i & 255}", l4=UDP(sport=1, dport=80))
    full = rig.drops()["template_full"]
    assert rig.drops() == {"template_full": full} and full >= 100
    assert records(rig)[0] == sum(templates(rig).values()) == room + 100 - full
    # When their time has passed they make room.
    rig.now += 360_000
    assert connect(rig, FAR, l4=UDP(sport=1, dport=80)) is not None
    assert rig.drops() == {"template_full": full} and kept
    rig.run()
    assert sum(templates(rig).values()) == 1


def test_a_lock_that_stays_held_costs_its_packets_only():
    rig = Rig()
    kept = small_table(rig)
    rig.service(dests=2, persistent=360)
    first = connect(rig, FAR)
    (number,) = [n for n in range(8) if load8(used_at(rig.w.templates, n))]
    assert lock(bucket_at(rig.w.templates, number), 9) and kept
    assert rig.exchange(WAN, syn(src=FAR, sport=5, mac=CLIENT_MAC)) == [[], []]
    assert rig.drops() == {"template_busy": 1}
    rig.worker.index = 8  # the worker that held it is replaced
    rig.worker.attach_templates(rig.w.templates)
    rig.worker.index = 0
    assert connect(rig, FAR, 6) == first
    assert rig.clean()


def test_the_next_process_of_a_worker_holds_the_same_templates():
    rig = Rig()
    rig.service(dests=3, persistent=1, conn_timeout=600, proto="udp")
    first = connect(rig, FAR, l4=UDP(sport=1, dport=80))
    rig.exchange(WAN, from_client(UDP(sport=1, dport=80), src=FAR))
    rig.sleep(4000)
    held = {"memory": rig.shared, "table_memory": rig.table_memory}
    other = Rig(**held, now=rig.now, templates=rig.w.templates)
    other.service(dests=3, persistent=1, conn_timeout=600, proto="udp")
    assert other.connections() == 1 and templates(other) == {first: 1}
    other.sleep(300_000, 1000)
    assert connect(other, FAR, l4=UDP(sport=2, dport=80)) == first
    assert other.clean()
