"""IPv6 fragments that are not forwarded: bad ones, those of datagrams that went wrong, too many."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import ICMPv6ParamProblem, IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import Ether

from ipvs.datagram_queue import WAIT_EACH
from ipvs.datagrams import LIFE_MS, Datagrams
from ipvs.expire import end_now
from ipvs.table import Table
from tests import oracle
from tests.fragment_flows import held, text
from tests.fragment_flows6 import LAN, WAN, Flow6, checked6
from tests.fragments6 import cut6, joined6, packet_of
from tests.topology6 import FROM_CLIENT, VIP6, frame6


@pytest.fixture
def rig():
    with checked6() as made:
        yield made


def problem(out, frame, code, pointer):
    """The only frame sent is a parameter problem about ``frame`` (RFC 4443 3.4)."""
    ((error,), nothing) = out
    message = Ether(error)[ICMPv6ParamProblem]
    assert (message.code, message.ptr) == (code, pointer) and nothing == []
    assert bytes(message.payload) == packet_of(frame)[: 1280 - 48]
    ip = Ether(error)[IPv6]
    assert (ip.src, ip.dst) == (VIP6, Ether(frame)[IPv6].src)
    return True


BAD = {
    "tcp header cut": ("frag_tiny", "tcp", (0, 16), (3, 0)),
    "udp header cut": ("frag_form", "udp", (0, 7), (0, 4)),
    "odd length": ("frag_form", "udp", (0, 13), (0, 4)),
    "beyond 65535 bytes": ("frag_form", "udp", (65528, 64, 0), (0, 42)),
}


@pytest.mark.parametrize("name", BAD)
def test_rfc8200_4_5_fragments_that_are_reported(rig, name):
    reason, proto, numbers, (code, pointer) = BAD[name]
    frame = Flow6(rig, "fullnat", proto).part(*numbers)
    assert problem(rig.exchange(WAN, frame), frame, code, pointer)
    assert rig.drops() == {reason: 1} and held(rig) == 0


def test_fragments_without_content_or_with_a_header_cut_short(rig):
    flow = Flow6(rig, "nat", "udp")
    frame = flow.part(8, 8)
    assert rig.exchange(WAN, flow.part(8, 0)) == [[], []]
    short = frame[:18] + b"\0\x04" + frame[20:58]
    assert rig.exchange(WAN, short) == [[], []]
    assert rig.drops() == {"frag_form": 2}


def test_rfc7112_all_headers_are_in_the_first_fragment(rig):
    """An extension header that ends in the second, and a second fragment header."""
    flow = Flow6(rig, "nat", "tcp")
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(36))])
    frame, _ = flow.whole(WAN, 100, (options,))
    for at in ([2], [5], [6]):
        first = cut6(frame, at, 4)[0]
        assert problem(rig.exchange(WAN, first), first, 3, 0)
    twice = cut6(cut6(frame, [10], 4)[0], [9], 4)[0]
    assert rig.exchange(WAN, twice) == [[], []]
    assert rig.drops() == {"frag_tiny": 3, "ip6_fragment": 1}
    # To others than us they are not ours to report.
    rig.apply("param.set", forwarding6=1)
    first = cut6(frame, [2], 4)[0]
    other = first[:38] + bytes.fromhex("20010db8000200000000000000000099") + first[54:]
    assert rig.exchange(WAN, other) == [[], []]
    assert rig.drops() == {"frag_tiny": 4, "ip6_fragment": 1}


def test_udp_without_checksum_and_lies_about_its_length(rig):
    flow = Flow6(rig, "nat", "udp")
    frame = bytearray(flow.part(0, 64))
    frame[62 + 6 : 62 + 8] = b"\0\0"
    assert rig.exchange(WAN, bytes(frame)) == [[], []]
    frame = bytearray(flow.part(0, 64))
    frame[62 + 4 : 62 + 6] = b"\0\x40"
    assert rig.exchange(WAN, bytes(frame)) == [[], []]
    assert rig.drops() == {"udp6_checksum": 1, "udp_length": 1}


@pytest.mark.parametrize("first_last", [False, True])
@pytest.mark.parametrize("begin,length", [(8, 16), (16, 48), (0, 32), (0, 128)])
def test_rfc5722_nothing_writes_over_the_header(rig, begin, length, first_last):
    """An overlapping fragment is dropped with all that follow, whichever comes first."""
    flow = Flow6(rig, "nat", "tcp")
    good, evil = flow.part(0, 64), flow.part(begin, length)
    frames = [evil, good] if first_last and begin else [good, evil]
    out = rig.exchange(WAN, *frames, flow.part(1024, 64, more=0))
    assert len(out[LAN]) == (0 if first_last and begin else 1) and out[WAN] == []
    drops = rig.drops()
    assert drops.pop("frag_overlap") == 1
    assert drops == {"frag_refused": 2 if first_last and begin else 1}


@pytest.mark.parametrize(
    "evil", [(64, 64, 1), (72, 8, 1), (120, 16, 1), (56, 80, 1), (200, 8, 0), (320, 8, 1)]
)
def test_rfc5722_overlap_ends_the_datagram(rig, evil):
    flow = Flow6(rig, "nat", "udp")
    frames = [flow.part(0, 64), flow.part(64, 72), flow.part(256, 64, more=0)]
    assert len(rig.exchange(WAN, *frames)[LAN]) == 3
    assert rig.exchange(WAN, flow.part(*evil), flow.part(136, 120)) == [[], []]
    assert rig.drops() == {"frag_overlap": 1, "frag_refused": 1}


def test_rfc8200_an_exact_duplicate_is_dropped_and_nothing_else(rig):
    flow = Flow6(rig, "fullnat", "udp")
    frame, wanted = flow.whole(WAN, 500)
    frames = cut6(frame, [10, 20, 40], 6)
    _, out = rig.exchange(WAN, frames[0], frames[2], frames[0], frames[2], frames[1], frames[3])
    assert joined6(out) == wanted
    assert rig.drops() == {"frag_duplicate": 2}
    _, out = rig.exchange(WAN, *frames)
    assert joined6(out) == wanted


def test_fragments_of_a_dropped_packet_are_dropped(rig):
    layer = oracle.segment("udp", 9, 7, payload=text(500))
    frames = cut6(frame6(FROM_CLIENT, ("2001:db8:7::9", VIP6), layer), [10, 20], 3)
    assert rig.exchange(WAN, frames[2], frames[0], frames[1]) == [[], []]
    assert rig.drops() == {"no_service": 1, "frag_refused": 2}


def test_fragment_of_a_connection_that_is_gone(rig):
    flow = Flow6(rig, "nat", "udp")
    frames = cut6(flow.whole(WAN, 500)[0], [10], 3)
    rig.exchange(WAN, frames[0])
    end_now(rig.address, Table(rig.w.table).high)
    assert rig.exchange(WAN, frames[1]) == [[], []]
    assert rig.drops() == {"frag_lost": 1}


def test_waiting_fragments_are_bounded_in_number_and_time(rig):
    flow = Flow6(rig, "fullnat", "udp")
    rig.exchange(WAN, *[flow.part(64 + 8 * i, 8) for i in range(WAIT_EACH + 3)])
    assert rig.drops() == {"frag_queue": 3}
    assert Datagrams(rig.w.datagrams).waiting == WAIT_EACH
    rig.at(rig.stack.now + LIFE_MS, rounds=20)
    assert rig.drops() == {"frag_queue": 3, "frag_timeout": WAIT_EACH}
