"""IPv4 fragments that are not forwarded: bad ones, those of datagrams that went wrong, too many."""

import pytest
from scapy.layers.inet import UDP

from ipvs.datagram_queue import WAIT_ALL, WAIT_EACH
from ipvs.datagrams import LIFE_MS, PARTS, SETS, WAYS
from ipvs.expire import end_now
from ipvs.table import Table
from tests.fragment_flows import Flow, checked, content, held, numbers, part
from tests.fragments import cut, joined
from tests.pathrig import LAN, WAN, from_client


@pytest.fixture
def rig():
    with checked() as made:
        yield made


BAD = {
    "tcp header cut": ("frag_tiny", "tcp", [(0, 16)]),
    "tcp options cut": ("frag_tiny", "tcp", [(0, 16)]),
    "no content": ("frag_form", "udp", [(8, 0)]),
    "odd length": ("frag_form", "udp", [(0, 13)]),
    "beyond 65535 bytes": ("frag_form", "udp", [(65528, 64, 0)]),
}


@pytest.mark.parametrize("name", BAD)
def test_fragments_that_no_honest_stack_sends(rig, name):
    reason, proto, parts = BAD[name]
    flow = Flow(rig, "fullnat", proto)
    assert rig.exchange(WAN, *[part(flow, *p) for p in parts]) == [[], []]
    assert rig.drops() == {reason: len(parts)}
    assert rig.waiting() == 0


def test_rfc1858_tiny_first_fragment_with_tcp_options(rig):
    """20 bytes of header that say 24: the rest of the header must not come separately."""
    flow = Flow(rig, "nat", "tcp")
    frame = bytearray(part(flow, 0, 24))
    frame[34 + 12] = 0x70
    assert rig.exchange(WAN, bytes(frame)) == [[], []]
    frame[34 + 12] = 0x40
    assert rig.exchange(WAN, bytes(frame)) == [[], []]
    assert rig.drops() == {"frag_tiny": 1, "tcp_offset": 1}


def test_a_udp_length_that_ends_in_the_first_fragment_is_a_lie(rig):
    flow = Flow(rig, "nat", "udp")
    frame = bytearray(part(flow, 0, 64))
    frame[38:40] = b"\0\x40"
    assert rig.exchange(WAN, bytes(frame)) == [[], []]
    assert rig.drops() == {"udp_length": 1}


@pytest.mark.parametrize("first_last", [False, True])
@pytest.mark.parametrize("begin,length", [(8, 16), (16, 48), (0, 32), (0, 128)])
def test_rfc1858_rfc3128_nothing_writes_over_the_header(rig, begin, length, first_last):
    """An overlapping fragment is dropped with all that follow, whichever comes first."""
    flow = Flow(rig, "nat", "tcp")
    good, evil = part(flow, 0, 64), part(flow, begin, length)
    frames = [evil, good] if first_last and begin else [good, evil]
    out = rig.exchange(WAN, *frames, part(flow, 1024, 64, more=0))
    assert len(out[LAN]) == (0 if first_last and begin else 1) and out[WAN] == []
    drops = rig.drops()
    assert drops.pop("frag_overlap") == 1
    assert drops == {"frag_refused": 2 if first_last and begin else 1}


@pytest.mark.parametrize(
    "evil", [(64, 64, 1), (72, 8, 1), (120, 16, 1), (56, 80, 1), (200, 8, 0), (320, 8, 1)]
)
def test_rfc5722_overlap_ends_the_datagram(rig, evil):
    flow = Flow(rig, "nat", "udp")
    frames = [part(flow, 0, 64), part(flow, 64, 72), part(flow, 256, 64, more=0)]
    assert len(rig.exchange(WAN, *frames)[LAN]) == 3
    assert rig.exchange(WAN, part(flow, *evil), part(flow, 136, 120)) == [[], []]
    assert rig.drops() == {"frag_overlap": 1, "frag_refused": 1}


def test_rfc8200_an_exact_duplicate_is_dropped_and_nothing_else(rig):
    flow = Flow(rig, "fullnat", "udp")
    frame, wanted = flow.whole(WAN, 500)
    frames = cut(frame, [10, 20, 40])
    _, out = rig.exchange(WAN, frames[0], frames[2], frames[0], frames[2], frames[1], frames[3])
    assert joined(out) == wanted
    assert rig.drops() == {"frag_duplicate": 2}
    # Complete: the identification may be used for another datagram at once (RFC 6864).
    _, out = rig.exchange(WAN, *frames)
    assert joined(out) == wanted


def test_fragments_of_a_dropped_packet_are_dropped(rig):
    frame = from_client(UDP(sport=9, dport=7) / content(500), id=3)
    frames = cut(frame, [10, 20])
    assert rig.exchange(WAN, frames[2], frames[0], frames[1]) == [[], []]
    assert rig.drops() == {"no_service": 1, "frag_refused": 2}


def test_fragment_of_a_connection_that_is_gone(rig):
    flow = Flow(rig, "nat", "udp")
    frames = cut(flow.whole(WAN, 500)[0], [10])
    rig.exchange(WAN, frames[0])
    rig.apply("svc.del", id=numbers()["nat", "udp"])
    end_now(rig.address, Table(rig.w.table).high)
    assert rig.exchange(WAN, frames[1]) == [[], []]
    assert rig.drops() == {"frag_lost": 1}


# Bounds in number and time


def test_rfc8900_waiting_fragments_are_given_up_in_time(rig):
    flow = Flow(rig, "fullnat", "udp")
    frames = cut(flow.whole(WAN, 500)[0], [10, 20])
    rig.exchange(WAN, *frames[1:])
    assert rig.after(LIFE_MS - 1, rounds=20) == [[], []] and rig.waiting() == 2
    rig.after(1, rounds=20)
    assert rig.waiting() == 0 and rig.drops() == {"frag_timeout": 2}
    # Too late: the first one goes, but no other will.
    assert len(rig.exchange(WAN, frames[0])[LAN]) == 1


@pytest.mark.long
def test_waiting_fragments_are_bounded(rig):
    flow = Flow(rig, "fullnat", "udp")
    rig.exchange(WAN, *[part(flow, 64 + 8 * i, 8) for i in range(WAIT_EACH + 3)])
    assert rig.drops() == {"frag_queue": 3} and rig.waiting() == WAIT_EACH
    for ident in range(100, 100 + 2 * WAIT_ALL):
        rig.exchange(WAN, part(flow, 64, 8, ident=ident))
    # The hash is keyed anew for each table: a set that overflows late lets all go that one held.
    assert WAIT_ALL - WAIT_EACH <= rig.waiting() <= WAIT_ALL
    assert set(rig.drops()) <= {"frag_queue", "frag_evicted"}


@pytest.mark.long
def test_a_flood_of_datagrams_evicts_the_oldest(rig):
    flow = Flow(rig, "fullnat", "udp")
    rig.exchange(WAN, part(flow, 64, 8, ident=1))
    rig.now += 1
    for ident in range(2, 2 * SETS * WAYS):
        rig.push(WAN, part(flow, 0, 64, ident=ident))
        if ident % 64 == 0:
            rig.run(2)
    rig.run(4)
    assert held(rig) <= SETS * WAYS
    # The hash is keyed anew for each table: very seldom the flood leaves one set half empty.
    assert set(rig.drops().items()) <= {("frag_evicted", 1)}


def test_a_datagram_has_only_so_many_fragments(rig):
    flow = Flow(rig, "fullnat", "udp")
    rig.exchange(WAN, *[part(flow, 8 * i, 8) for i in range(PARTS + 2)])
    assert rig.drops() == {"frag_many": 2}
