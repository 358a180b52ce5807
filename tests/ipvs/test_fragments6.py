"""IPv6 fragments: whatever is cut up, the receiver puts together what it would have got whole."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import Ether

from ipvs.datagram_queue import WAIT_EACH
from ipvs.datagrams import LIFE_MS, SETS, WAYS, Datagrams
from ipvs.expire import end_now
from ipvs.table import Table
from tests import oracle
from tests.audit import audit
from tests.fragments6 import cut6, fragment, joined6, packet_of, parts_of
from tests.rig import MACS, Rig, connect
from tests.topology6 import (
    FROM_CLIENT,
    LOCAL6,
    SERVERS6,
    TO_CLIENT,
    VIP6,
    dest6,
    frame6,
    from_server,
    network6,
    rewritten6,
    service6,
    to_server,
)

WAN, LAN = 0, 1
PROTOS = ("tcp", "udp", "sctp")
MODES = ("fullnat", "nat", "dr")
WAYS_OF = [("fullnat", WAN), ("fullnat", LAN), ("nat", WAN), ("nat", LAN), ("dr", WAN)]
SERVER = SERVERS6[0]
NUMBERS = {way: n for n, way in enumerate(itertools.product(MODES, PROTOS))}
HOPS = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
_clients = itertools.count(1024)
_idents = itertools.count(0x10000)


def content(size):
    return bytes(i * 7 + (i >> 8) & 255 for i in range(size))


def rig_with_services(**more):
    rig = network6(Rig(capacity=8192, **more))
    for (mode, proto), number in NUMBERS.items():
        port = 80 + number if mode == "dr" else 8000 + number
        server = dest6(number, addr=SERVER, mode=mode, port=port)
        service6(rig, [server], id=number, port=80 + number, proto=proto)
    return rig


@functools.cache
def shared():
    return rig_with_services()


@pytest.fixture
def rig():
    made = rig_with_services()
    yield made
    for _ in range(3):
        made.at(made.stack.now + LIFE_MS, rounds=20)
    assert Datagrams(made.w.datagrams).waiting == 0 and made.in_flight() == 0
    assert audit(made.address) == []


def held(rig):
    """How many datagrams the rig remembers."""
    table = Datagrams(rig.w.datagrams)
    return sum(1 for i in range(SETS * WAYS) if table.datagram[i].state)


class Flow:
    """A connection: whole packets in either direction and what must come of them."""

    def __init__(self, rig, mode, proto):
        self.rig, self.mode, self.proto = rig, mode, proto
        number = NUMBERS[mode, proto]
        self.vport, self.port = 80 + number, 80 + number if mode == "dr" else 8000 + number
        self.client = f"2001:db8:7::{next(_clients):x}", 1000
        layer = oracle.segment(proto, 1000, self.vport, "S")
        out = rig.exchange(WAN, frame6(FROM_CLIENT, (self.client[0], VIP6), layer))[LAN]
        ip = Ether(out[0])[IPv6]
        self.local = ip.src, ip.payload.sport

    def whole(self, port, size=64, headers=(), **ip):
        """A packet arriving on ``port``, and the frame it would be on the other side."""
        fields = (1000, self.vport) if port == WAN else (self.port, self.local[1])
        layer = oracle.segment(self.proto, *fields, "A", content(size))
        for header in reversed(headers):
            layer = header / layer
        if port == WAN:
            frame = frame6(FROM_CLIENT, (self.client[0], VIP6), layer, **ip)
            target = (VIP6, self.vport) if self.mode == "dr" else (SERVER, self.port)
            return frame, rewritten6(frame, to_server(), self.local, target)
        frame = frame6(from_server(), (SERVER, self.local[0]), layer, **ip)
        return frame, rewritten6(frame, TO_CLIENT, (VIP6, self.vport), self.client)

    def part(self, begin, length, more=1, ident=9, port=WAN):
        """A fragment of a packet of the flow, at ``begin`` bytes with any content."""
        frame, _ = self.whole(port, 3000)
        body = packet_of(frame)[40:][begin : begin + length].ljust(length, b"x")
        return fragment(frame, 0, begin, body, more, ident)


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("mode,port", WAYS_OF)
@settings(max_examples=20)
@given(data=st.data())
def test_rfc8200_4_5_any_split_in_any_order(mode, port, proto, data):
    """The fragments put together are the very packet that the unfragmented path sends."""
    rig = shared()
    flow = Flow(rig, mode, proto)
    size = data.draw(st.integers(40, 8000) | st.integers(40, 200))
    before = data.draw(st.sampled_from([(), (HOPS,), (HOPS, IPv6ExtHdrDestOpt())]))
    inside = data.draw(st.sampled_from([(), (IPv6ExtHdrDestOpt(),)]))
    ip = {"tc": data.draw(st.integers(0, 255)), "fl": data.draw(st.integers(0, 0xFFFFF))}
    frame, wanted = flow.whole(port, size, (*before, *inside), **ip)
    blocks = (size + 7) // 8
    at = data.draw(st.sets(st.integers(4, blocks), min_size=1, max_size=12))
    at |= set(range(170, blocks, 170))
    ident = data.draw(st.integers(0, 0xFFFFFFFF))
    frames = data.draw(st.permutations(cut6(frame, at, ident, len(before))))
    drops = rig.drops()
    rig.push(port, *frames)
    out = rig.run(2)
    assert out[port] == [] and len(out[1 - port]) == len(frames), rig.drops()
    assert joined6(out[1 - port], ident) == wanted
    assert rig.drops() == drops and held(rig) == 0 and rig.in_flight() == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_fragment_may_open_a_connection_and_come_out_of_order(rig, mode):
    layer = oracle.segment("udp", 9, 80 + NUMBERS[mode, "udp"], payload=content(3000))
    frames = cut6(frame6(FROM_CLIENT, ("2001:db8:7::9", VIP6), layer), [100, 200, 300], 77)
    assert rig.exchange(WAN, *frames[1:]) == [[], []]
    assert rig.applier.connections() == 0 and Datagrams(rig.w.datagrams).waiting == 3
    _, out = rig.exchange(WAN, frames[0])
    whole = Ether(joined6(out, 77))
    again = Ether(bytes(whole))
    del again[UDP].chksum
    assert bytes(again) == bytes(whole) and bytes(whole[UDP].payload) == content(3000)
    assert rig.applier.connections() == 1 and rig.drops() == {}
    assert parts_of(out[:1])[0][:2] == (0, 1), "the first one first"


def test_the_identification_tells_datagrams_apart_and_the_protocol_does_not(rig):
    flows = [Flow(rig, "nat", "udp"), Flow(rig, "fullnat", "udp"), Flow(rig, "nat", "udp")]
    pairs = [flow.whole(WAN, 300) for flow in flows]
    pieces = [cut6(frame, [8, 16], 5 + i) for i, (frame, _) in enumerate(pairs)]
    sent = []
    for turn in ((2, 0, 1), (1, 1, 2), (0, 2, 0)):
        sent += rig.exchange(WAN, *[pieces[i][part] for i, part in enumerate(turn)])[LAN]
    by_ident = {}
    for part in parts_of(sent):
        by_ident.setdefault(part[5], []).append(part[2])
    assert [joined6(by_ident[5 + i]) for i in range(3)] == [wanted for _, wanted in pairs]
    # Only the first fragment's next header counts (RFC 8200 4.5).
    flow = flows[0]
    first, second = cut6(flow.whole(WAN, 300)[0], [10], 99)
    second = second[:54] + b"\x3c" + second[55:]
    _, (one, two) = rig.exchange(WAN, first, second)
    assert one[54] == 17 and two[54] == 60 and two[62:] == second[62:]


# Atomic fragments


@pytest.mark.parametrize("mode,port", WAYS_OF)
@pytest.mark.parametrize("proto", PROTOS)
def test_rfc6946_an_atomic_fragment_is_a_whole_packet(mode, port, proto):
    """Handled alone, however often its identification comes; the header goes along."""
    rig = shared()
    flow = Flow(rig, mode, proto)
    frame, wanted = flow.whole(port, 200)
    drops = rig.drops()
    ident = next(_idents)
    (atomic,) = cut6(frame, [], ident)
    out = rig.exchange(port, cut6(flow.whole(port, 400)[0], [10], ident)[0], atomic, atomic)
    assert [joined6([raw], ident) for raw in out[1 - port][-2:]] == [wanted] * 2
    assert out[port] == [] and rig.drops() == drops


def test_rfc6946_echo_requests_in_atomic_fragments_are_answered(rig):
    ping = ICMPv6EchoRequest(id=3, seq=4, data=b"x" * 20)
    frame = frame6(FROM_CLIENT, ("2001:db8:7::9", "2001:db8:1::1"), ping)
    (reply,), _ = rig.exchange(WAN, *cut6(frame, [], 8))
    assert Ether(reply)[IPv6].nh == 58 and reply[54] == 129
    # Others nobody puts together.
    assert rig.exchange(WAN, *cut6(frame, [1], 8)) == [[], []]
    assert rig.drops() == {"ip6_fragment": 2}


# Bad fragments


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
    frame = Flow(rig, "fullnat", proto).part(*numbers)
    assert problem(rig.exchange(WAN, frame), frame, code, pointer)
    assert rig.drops() == {reason: 1} and held(rig) == 0


def test_fragments_without_content_or_with_a_header_cut_short(rig):
    flow = Flow(rig, "nat", "udp")
    frame = flow.part(8, 8)
    assert rig.exchange(WAN, flow.part(8, 0)) == [[], []]
    short = frame[:18] + b"\0\x04" + frame[20:58]
    assert rig.exchange(WAN, short) == [[], []]
    assert rig.drops() == {"frag_form": 2}


def test_rfc7112_all_headers_are_in_the_first_fragment(rig):
    """An extension header that ends in the second, and a second fragment header."""
    flow = Flow(rig, "nat", "tcp")
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
    flow = Flow(rig, "nat", "udp")
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
    flow = Flow(rig, "nat", "tcp")
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
    flow = Flow(rig, "nat", "udp")
    frames = [flow.part(0, 64), flow.part(64, 72), flow.part(256, 64, more=0)]
    assert len(rig.exchange(WAN, *frames)[LAN]) == 3
    assert rig.exchange(WAN, flow.part(*evil), flow.part(136, 120)) == [[], []]
    assert rig.drops() == {"frag_overlap": 1, "frag_refused": 1}


def test_rfc8200_an_exact_duplicate_is_dropped_and_nothing_else(rig):
    flow = Flow(rig, "fullnat", "udp")
    frame, wanted = flow.whole(WAN, 500)
    frames = cut6(frame, [10, 20, 40], 6)
    _, out = rig.exchange(WAN, frames[0], frames[2], frames[0], frames[2], frames[1], frames[3])
    assert joined6(out) == wanted
    assert rig.drops() == {"frag_duplicate": 2}
    _, out = rig.exchange(WAN, *frames)
    assert joined6(out) == wanted


def test_fragments_of_a_dropped_packet_are_dropped(rig):
    layer = oracle.segment("udp", 9, 7, payload=content(500))
    frames = cut6(frame6(FROM_CLIENT, ("2001:db8:7::9", VIP6), layer), [10, 20], 3)
    assert rig.exchange(WAN, frames[2], frames[0], frames[1]) == [[], []]
    assert rig.drops() == {"no_service": 1, "frag_refused": 2}


def test_fragment_of_a_connection_that_is_gone(rig):
    flow = Flow(rig, "nat", "udp")
    frames = cut6(flow.whole(WAN, 500)[0], [10], 3)
    rig.exchange(WAN, frames[0])
    end_now(rig.address, Table(rig.w.table).high)
    assert rig.exchange(WAN, frames[1]) == [[], []]
    assert rig.drops() == {"frag_lost": 1}


def test_waiting_fragments_are_bounded_in_number_and_time(rig):
    flow = Flow(rig, "fullnat", "udp")
    rig.exchange(WAN, *[flow.part(64 + 8 * i, 8) for i in range(WAIT_EACH + 3)])
    assert rig.drops() == {"frag_queue": 3}
    assert Datagrams(rig.w.datagrams).waiting == WAIT_EACH
    rig.at(rig.stack.now + LIFE_MS, rounds=20)
    assert rig.drops() == {"frag_queue": 3, "frag_timeout": WAIT_EACH}


# Other ways than services


def test_fragments_of_others_are_routed_and_not_reported(rig):
    """In order, as soon as the first was seen; those of ICMPv6 one by one."""
    rig.apply("param.set", forwarding6=1)
    far = "2001:db8:2::99"
    rig.apply("neigh.set", addr=far, dev=LAN, mac="02:bb:00:00:00:99", static=True)
    for layer in (oracle.segment("udp", 1, 2, payload=content(900)),
                  IPv6ExtHdrDestOpt() / ICMPv6EchoRequest(data=content(900)),
                  ICMPv6EchoRequest(data=content(900))):  # fmt: skip
        frame = frame6(FROM_CLIENT, ("2001:db8:7::9", far), layer)
        frames = cut6(frame, [40, 80], next(_idents))
        _, out = rig.exchange(WAN, frames[1], frames[0], frames[2])
        again = Ether(frame)
        again.src, again.dst, again[IPv6].hlim = MACS[LAN], "02:bb:00:00:00:99", 63
        assert joined6(out) == bytes(again)
    assert rig.drops() == {}


# What does not fit


@pytest.mark.parametrize("mode,port", WAYS_OF)
def test_rfc8201_the_sender_of_a_fragment_is_told_the_mtu(rig, mode, port):
    """Any fragment may be too big: nobody on the way cuts it up further."""
    flow = Flow(rig, mode, "udp")
    rig.apply("dev.set", id=1 - port, mac=MACS[1 - port], mtu=1300)
    frame, _ = flow.whole(port, 2400)
    small, large = cut6(frame, [8, 170], 5)[:2]
    out = rig.exchange(port, small, large)
    assert len(out[1 - port]) == 1
    (error,) = out[port]
    message = Ether(error)[ICMPv6PacketTooBig]
    assert message.mtu == 1300 and bytes(message.payload) == packet_of(large)[:1232]
    assert rig.drops() == {"ip6_too_big": 1}
    large, small = cut6(frame, [170], 6)
    assert rig.exchange(port, large)[1 - port] == []
    assert rig.exchange(port, small) == [[], []]
    assert rig.drops() == {"ip6_too_big": 2, "frag_refused": 1}


@pytest.mark.parametrize("port", [WAN, LAN])
def test_hop_limit_of_fragments(rig, port):
    flow = Flow(rig, "fullnat", "udp")
    rig.apply("param.set", xmit_ttl=1)
    frame, wanted = flow.whole(port, 300, hlim=2)
    out = rig.exchange(port, *cut6(frame, [10], 5))
    assert joined6(out[1 - port]) == wanted[:21] + b"\x01" + wanted[22:]
    first, second = cut6(flow.whole(port, 300, hlim=2)[0], [10], 6)
    rig.exchange(port, first)
    out = rig.exchange(port, second[:21] + b"\x01" + second[22:])
    assert out[1 - port] == [] and len(out[port]) == 1
    assert rig.drops() == {"ip6_hops": 1}


# Several workers


def go_round(rigs):
    out = [[], []]
    for each in rigs * (len(rigs) + 1):
        for all_, new in zip(out, each.run(2), strict=True):
            all_ += new
    return out


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("mode,port", WAYS_OF)
def test_fragments_reach_the_owner_wherever_they_arrive(workers, mode, port):
    """RSS knows only their addresses; first and others come to one worker, often the wrong one."""
    rigs = [rig_with_services(workers=workers)]
    rigs += [rig_with_services(index=n, workers=workers, pool=rigs[0].pool)
             for n in range(1, workers)]  # fmt: skip
    kept = connect(rigs)
    flow = Flow.__new__(Flow)
    flow.mode, flow.proto, flow.client = mode, "udp", ("2001:db8:7::9", 1000)
    number = NUMBERS[mode, "udp"]
    flow.vport, flow.port = 80 + number, 80 + number if mode == "dr" else 8000 + number
    layer = oracle.segment("udp", 1000, flow.vport)
    rigs[0].push(WAN, frame6(FROM_CLIENT, (flow.client[0], VIP6), layer))
    ip = Ether(go_round(rigs)[LAN][0])[IPv6]
    flow.local = ip.src, ip.payload.sport
    for arrives in rigs:
        for order in ((0, 1, 2), (2, 1, 0)):
            frame, wanted = flow.whole(port, 900)
            frames = cut6(frame, [40, 80], next(_idents))
            arrives.push(port, *[frames[i] for i in order])
            out = go_round(rigs)
            assert out[port] == [] and joined6(out[1 - port]) == wanted
    assert [each.drops() for each in rigs] == [{}] * workers
    assert sum(each.applier.connections() for each in rigs) == 1
    assert rigs[0].in_flight() == 0 and kept
    assert flow.local[0] == (LOCAL6 if mode == "fullnat" else flow.client[0])
