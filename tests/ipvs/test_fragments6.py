"""IPv6 fragments: whatever is cut up, the receiver puts together what it would have got whole.

Those that are not forwarded: test_fragments6_refused.py.
"""

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
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import Ether

from ipvs.datagrams import Datagrams
from tests import oracle
from tests.fragment_flows import PROTOS, WAYS_OF, held, numbers, text
from tests.fragment_flows6 import LAN, WAN, Flow6, checked6, rig_with_services6
from tests.fragments6 import cut6, joined6, packet_of, parts_of
from tests.rig import MACS, connect, go_round
from tests.topology6 import FROM_CLIENT, LOCAL6, VIP6, frame6

MODES = ("fullnat", "nat", "dr")
HOPS = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
_idents = itertools.count(0x10000)


@functools.cache
def shared():
    return rig_with_services6()


@pytest.fixture
def rig():
    with checked6() as made:
        yield made


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("mode,port", WAYS_OF)
@settings(max_examples=20)
@given(data=st.data())
def test_rfc8200_4_5_any_split_in_any_order(mode, port, proto, data):
    """The fragments put together are the very packet that the unfragmented path sends."""
    rig = shared()
    flow = Flow6(rig, mode, proto)
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
    layer = oracle.segment("udp", 9, 80 + numbers()[mode, "udp"], payload=text(3000))
    frames = cut6(frame6(FROM_CLIENT, ("2001:db8:7::9", VIP6), layer), [100, 200, 300], 77)
    assert rig.exchange(WAN, *frames[1:]) == [[], []]
    assert rig.applier.connections() == 0 and Datagrams(rig.w.datagrams).waiting == 3
    _, out = rig.exchange(WAN, frames[0])
    whole = Ether(joined6(out, 77))
    again = Ether(bytes(whole))
    del again[UDP].chksum
    assert bytes(again) == bytes(whole) and bytes(whole[UDP].payload) == text(3000)
    assert rig.applier.connections() == 1 and rig.drops() == {}
    assert parts_of(out[:1])[0][:2] == (0, 1), "the first one first"


def test_the_identification_tells_datagrams_apart_and_the_protocol_does_not(rig):
    flows = [Flow6(rig, "nat", "udp"), Flow6(rig, "fullnat", "udp"), Flow6(rig, "nat", "udp")]
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
    flow = Flow6(rig, mode, proto)
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


# Other ways than services


def test_fragments_of_others_are_routed_and_not_reported(rig):
    """In order, as soon as the first was seen; those of ICMPv6 one by one."""
    rig.apply("param.set", forwarding6=1)
    far = "2001:db8:2::99"
    rig.apply("neigh.set", addr=far, dev=LAN, mac="02:bb:00:00:00:99", static=True)
    for layer in (oracle.segment("udp", 1, 2, payload=text(900)),
                  IPv6ExtHdrDestOpt() / ICMPv6EchoRequest(data=text(900)),
                  ICMPv6EchoRequest(data=text(900))):  # fmt: skip
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
    flow = Flow6(rig, mode, "udp")
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
    flow = Flow6(rig, "fullnat", "udp")
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


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("mode,port", WAYS_OF)
def test_fragments_reach_the_owner_wherever_they_arrive(workers, mode, port):
    """RSS knows only their addresses; first and others come to one worker, often the wrong one."""
    rigs = [rig_with_services6(workers=workers)]
    rigs += [rig_with_services6(index=n, workers=workers, pool=rigs[0].pool)
             for n in range(1, workers)]  # fmt: skip
    kept = connect(rigs)
    flow = Flow6.__new__(Flow6)
    flow.mode, flow.proto, flow.client = mode, "udp", ("2001:db8:7::9", 1000)
    number = numbers()[mode, "udp"]
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
