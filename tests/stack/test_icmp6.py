"""ICMPv6 answers and forwarding byte by byte against scapy: RFC 4443, RFC 8200, RFC 4291."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_Redirect,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    RouterAlert,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests import net6
from tests.net6 import (
    ALL_MAC,
    ALL_NODES,
    CLIENT6,
    CLIENT_MAC,
    GATEWAY_MAC,
    LAN6,
    OURS,
    REMOTE6,
    SERVER6,
    SERVER_MAC,
    VIP6,
    WAN,
    WAN6,
    frame,
    link_local,
    ping,
    raw,
    send,
)
from tests.rig import MACS

PEER = link_local(CLIENT_MAC)


@pytest.fixture
def rig():
    rig = net6.know(net6.network())
    yield rig
    assert rig.in_flight() == 0


def reply(request, src=None, dst=CLIENT6):
    """The echo reply to a request (RFC 4443 4.2)."""
    asked = request[ICMPv6EchoRequest]
    answer = ICMPv6EchoReply(id=asked.id, seq=asked.seq, data=asked.data)
    ip = IPv6(src=src or request[IPv6].dst, dst=dst, hlim=64)
    return bytes(Ether(src=MACS[WAN], dst=CLIENT_MAC) / ip / answer)


def error(message, about, src=WAN6, dst=CLIENT6, mac=CLIENT_MAC):
    """An error of ours: as much of the packet as fits 1280 bytes (RFC 4443 2.4 c)."""
    quoted = bytes(about[IPv6])[: 1280 - 48]
    ip = IPv6(src=src, dst=dst, hlim=64)
    return bytes(Ether(src=MACS[WAN], dst=mac) / ip / message / Raw(quoted))


@pytest.mark.parametrize("target", [WAN6, VIP6, LAN6])
@pytest.mark.parametrize("size", [0, 1, 56, 1452])
def test_rfc4443_4_2_echo(rig, target, size):
    request = ping(size, dst=target)
    assert send(rig, WAN, request) == [[reply(request)], []]
    assert rig.drops() == {}


def test_rfc4443_4_2_echo_of_link_local_hosts_and_groups(rig):
    request = ping(src=PEER, dst=OURS[0])
    assert send(rig, WAN, request)[0] == [reply(request, dst=PEER)]
    request = ping(src=PEER, dst=ALL_NODES, to=ALL_MAC)
    assert send(rig, WAN, request)[0] == [reply(request, OURS[0], PEER)]
    request = ping(dst=ALL_NODES, to=ALL_MAC)
    assert send(rig, WAN, request)[0] == [reply(request, WAN6)]


def test_link_padding_is_no_part_of_the_message(rig):
    request = ping(3)
    assert send(rig, WAN, bytes(request) + b"padding")[0] == [reply(request)]


EXTENSIONS = {
    "4_3_hop_by_hop": [IPv6ExtHdrHopByHop(options=[RouterAlert()])],
    "4_6_destination": [IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])],
    "4_4_routing_without_segments_left": [IPv6ExtHdrRouting(type=0, segleft=0, addresses=["::1"])],
    "rfc4302_authentication": [AH(spi=1, seq=1, payloadlen=4, icv=bytes(12))],
    "4_1_all_in_order": [
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrDestOpt(),
        IPv6ExtHdrRouting(segleft=0, addresses=[]),
        AH(spi=1, seq=1, payloadlen=4, icv=bytes(12)),
        IPv6ExtHdrDestOpt(),
    ],
}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_rfc8200_extension_headers_are_looked_through(rig, name):
    plain = ping(20)
    packet = plain[ICMPv6EchoRequest].copy()
    packet.cksum = IPv6(bytes(plain[IPv6])).payload.cksum  # scapy sums over AH wrongly
    for header in reversed(EXTENSIONS[name]):
        packet = header.copy() / packet
    if name in ("rfc4302_authentication", "4_1_all_in_order"):
        packet[AH].nh = 58 if name.startswith("rfc") else 60
    assert send(rig, WAN, frame(packet))[0] == [reply(plain)]


def option(kind, header=60, **fields):
    """An echo request behind an option nobody knows."""
    echo = bytes(ICMPv6EchoRequest(id=1, seq=2))
    return frame(Raw(bytes([58, 0, kind, 4, 1, 2, 3, 4]) + echo), nh=header, **fields)


def test_rfc8200_4_2_what_an_unknown_option_asks_for(rig):
    problem = ICMPv6ParamProblem(code=2, ptr=42)
    assert len(send(rig, WAN, option(0x1E))[0]) == 0  # skipped; its checksum is wrong
    assert rig.drops() == {"icmp6_checksum": 1}
    assert send(rig, WAN, option(0x5E)) == [[], []]
    about = option(0x9E)
    assert send(rig, WAN, about)[0] == [error(problem, about)]
    about = option(0xDE, header=0)
    assert send(rig, WAN, about)[0] == [error(problem, about)]
    about = option(0x9E, dst=ALL_NODES, to=ALL_MAC)
    assert send(rig, WAN, about)[0] == [error(problem, about)]
    assert send(rig, WAN, option(0xDE, dst=ALL_NODES, to=ALL_MAC)) == [[], []]
    assert rig.drops() == {"icmp6_checksum": 1, "ip6_ext_option": 5}


def test_rfc8200_4_and_rfc5095_headers_we_do_not_take(rig):
    about = frame(Raw(bytes(8)), nh=200)
    assert send(rig, WAN, about)[0] == [error(ICMPv6ParamProblem(code=1, ptr=6), about)]
    about = frame(IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / Raw(b"x"), nh=60)
    assert send(rig, WAN, about)[0] == [error(ICMPv6ParamProblem(code=1, ptr=40), about)]
    about = frame(IPv6ExtHdrRouting(type=0, addresses=[SERVER6]) / Raw(b"x"))
    assert send(rig, WAN, about)[0] == [error(ICMPv6ParamProblem(code=0, ptr=42), about)]


def test_rfc4443_errors_about_packets_to_be_forwarded(rig):
    about = frame(raw(100), dst=SERVER6, nh=17, hlim=1)
    assert send(rig, WAN, about)[0] == [error(ICMPv6TimeExceeded(code=0), about)]
    about = frame(raw(100), dst="2001:db8:ffff::1", nh=17)
    assert send(rig, WAN, about)[0] == [error(ICMPv6DestUnreach(code=0), about)]
    about = frame(raw(1461), dst=SERVER6, nh=17)
    assert send(rig, WAN, about)[0] == [error(ICMPv6PacketTooBig(mtu=1500), about)]
    about = frame(raw(100), src=PEER, dst=SERVER6, nh=17)
    expected = error(ICMPv6DestUnreach(code=2), about, src=OURS[0], dst=PEER)
    assert send(rig, WAN, about)[0] == [expected]


def test_rfc8201_the_mtu_of_a_route(rig):
    route = {"dst": "2001:db8:9::", "plen": 48, "kind": "gateway", "via": net6.GATEWAY6}
    rig.apply("route.set", **route, dev=WAN, mtu=1400)
    fits, about = (frame(raw(size), dst=REMOTE6, nh=17) for size in (1360, 1361))
    assert len(send(rig, WAN, fits)[0]) == 1 and rig.drops() == {}
    assert send(rig, WAN, about)[0] == [error(ICMPv6PacketTooBig(mtu=1400), about)]
    assert rig.drops() == {"ip6_too_big": 1}


SILENT = {
    "2_4_e_1_error": ICMPv6DestUnreach() / Raw(bytes(48)),
    "2_4_e_2_redirect": ICMPv6ND_Redirect(),
    "cut_short": Raw(b""),
}


@pytest.mark.parametrize("name", SILENT)
def test_rfc4443_no_error_about(rig, name):
    assert send(rig, WAN, frame(SILENT[name], dst=SERVER6, hlim=1, nh=58)) == [[], []]
    hidden = IPv6ExtHdrDestOpt() / SILENT[name]
    hidden.nh = 58
    assert send(rig, WAN, frame(hidden, dst=SERVER6, hlim=1)) == [[], []]
    first = IPv6ExtHdrFragment(m=1, nh=58) / SILENT[name]
    assert send(rig, WAN, frame(first, dst=SERVER6, hlim=1)) == [[], []]
    later = IPv6ExtHdrFragment(offset=5, nh=58) / Raw(bytes(64))
    assert send(rig, WAN, frame(later, dst=SERVER6, hlim=1)) == [[], []]
    assert rig.drops() == {"ip6_hops": 4}


def test_rfc4443_2_4_f_errors_are_limited_in_rate(rig):
    about = [frame(UDP(sport=i, dport=9), dst=SERVER6, hlim=1) for i in range(150)]
    assert len(send(rig, WAN, *about)[0]) == 100
    assert rig.drops() == {"ip6_hops": 150, "icmp_rate": 50}
    assert len(send(rig, WAN, *about[:30], after=20)[0]) == 20


@pytest.mark.parametrize(
    ("target", "port", "mac"), [(SERVER6, 1, SERVER_MAC), (REMOTE6, 0, GATEWAY_MAC)]
)
def test_rfc8200_3_forwarding_lowers_the_hop_limit_and_nothing_else(rig, target, port, mac):
    packet = frame(
        IPv6ExtHdrHopByHop(options=[RouterAlert()]) / IPv6ExtHdrDestOpt() / UDP(dport=9) / raw(99),
        dst=target, tc=0xB8, fl=0x12345, hlim=2,
    )  # fmt: skip
    expected = packet.copy()
    expected.src, expected.dst = MACS[port], mac
    expected[IPv6].hlim = 1
    assert send(rig, WAN, packet)[port] == [bytes(expected)]


def test_rfc8200_4_5_fragments_are_forwarded_like_everything(rig):
    for offset in (0, 5):
        packet = frame(IPv6ExtHdrFragment(offset=offset, m=1, id=3) / raw(64), dst=SERVER6)
        (sent,) = send(rig, WAN, packet)[1]
        assert sent[14 + 8 :] == bytes(packet)[14 + 8 :]


@given(st.data())
def test_any_damage_of_an_ipv6_frame_leaves_nothing_behind(data):
    """Whatever is wrong: one packet in is at most one packet out, and no buffer is lost."""
    rig = _shared()
    base = data.draw(st.sampled_from(DAMAGED))
    frame_ = bytearray(base)
    for at in data.draw(st.lists(st.integers(14, len(base) - 1), min_size=1, max_size=4)):
        frame_[at] = data.draw(st.integers(0, 255))
    size = data.draw(st.integers(14, len(base)))
    before = sum(rig.drops().values())
    sent = send(rig, WAN, bytes(frame_[:size]), after=7)
    assert len(sent[0]) + len(sent[1]) <= 2  # an answer, and a solicitation for its neighbour
    assert sum(rig.drops().values()) - before <= 3
    assert rig.in_flight() == net6.neigh.NeighbourTable(rig.stack.neighbours).waiting
    for sent_frame in sent[0] + sent[1]:
        parsed = Ether(sent_frame)
        assert IPv6 in parsed and len(sent_frame) == 54 + parsed[IPv6].plen


DAMAGED = [
    bytes(packet)
    for packet in (
        ping(8),
        net6.solicitation(WAN6),
        net6.advertisement(CLIENT6, CLIENT_MAC),
        option(0x9E),
        frame(IPv6ExtHdrHopByHop(options=[RouterAlert()]) / IPv6ExtHdrRouting() / UDP()),
        frame(IPv6ExtHdrFragment(m=1) / UDP(), dst=SERVER6),
    )
]
_RIG = []


def _shared():
    if not _RIG:
        _RIG.append(net6.know(net6.network()))
    return _RIG[0]
