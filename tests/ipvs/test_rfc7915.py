"""RFC 7915 by clause: ICMP errors of every type, code and pointer, and what may not be translated.

Headers are in test_nat64.py, fragments in test_fragments64.py.
"""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, ICMPv6ParamProblem, IPv6, IPv6ExtHdrRouting
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import checksum

from tests import oracle
from tests.rig import Rig
from tests.topology import LOCAL, dest
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    VIP6,
    conversation,
    error_frame,
    frame6,
    from_server,
    network6,
    service6,
)
from tests.topology64 import FROM_SERVER, SERVER, answer

ROUTER6 = "2001:db8:abcd::1"


class Talk:
    """A NAT64 connection over UDP, and routers on both sides that complain about it."""

    def __init__(self, payload=b"payload", toa=0):
        self.rig = network6(Rig(), ipv4=True)
        self.rig.apply("param.set", toa=toa)
        service6(self.rig, [dest(0)], proto="udp", laddrs=[0])
        self.raw, self.out, self.answer, self.back = conversation(self.rig, "udp", 1000, payload)

    def complain4(self, kind, code, rest=0, quoted=None):
        """An ICMPv4 error about the client's packet: the ICMPv6 message (bytes) it becomes."""
        message = struct.pack("!BBHI", kind, code, 0, rest) + (quoted or self.out[14:])
        message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
        head = IP(src="198.19.0.254", dst=LOCAL, proto=1)
        self.rig.stack.icmp_tokens = 100
        frame = bytes(Ether(src=from_server()[0], dst=from_server()[1]) / head / Raw(message))
        wan, lan = self.rig.exchange(1, frame)
        assert lan == [] and self.rig.in_flight() == 0
        return wan[0][54:] if wan else None

    def complain6(self, kind, code, rest=0, quoted=None):
        """An ICMPv6 error about the server's packet: the ICMPv4 message (bytes) it becomes."""
        error = ICMPv6PacketTooBig(type=kind, code=code, mtu=rest)
        frame = error_frame(FROM_CLIENT, (ROUTER6, VIP6), error, quoted or self.back[14:])
        wan, lan = self.rig.exchange(0, frame)
        assert wan == [] and self.rig.in_flight() == 0
        if not lan:
            return None
        assert checksum(lan[0][34:]) == 0
        return lan[0][34:]

    def dropped(self):
        return self.rig.drops().get("icmp_unrelated", 0)


def became(message):
    """(type, code, second word) of an ICMP message, or None."""
    return message and (message[0], message[1], int.from_bytes(message[4:8], "big"))


# Section 4.2, by code of "destination unreachable"; None: silently dropped.
UNREACHABLE = {
    0: (1, 0, 0), 1: (1, 0, 0), 2: (4, 1, 6), 3: (1, 4, 0), 4: (2, 0, 1320), 5: (1, 0, 0),
    6: (1, 0, 0), 7: (1, 0, 0), 8: (1, 0, 0), 9: (1, 1, 0), 10: (1, 1, 0), 11: (1, 0, 0),
    12: (1, 0, 0), 13: (1, 1, 0), 14: None, 15: (1, 1, 0), 16: None, 255: None,
}  # fmt: skip


def test_rfc7915_4_2_every_error_to_ipv6():
    talk = Talk()
    for code, wanted in UNREACHABLE.items():
        assert became(talk.complain4(3, code, 1300 if code == 4 else 0)) == wanted, code
    assert became(talk.complain4(11, 0)) == (3, 0, 0)
    assert became(talk.complain4(11, 1)) == (3, 1, 0)
    assert became(talk.complain4(4, 0)) is None  # source quench
    assert became(talk.complain4(12, 1)) is None  # a required option is missing
    assert talk.dropped() == 5
    # Redirects are for the host on the link, queries are not translated here.
    for kind in (5, 13, 14, 15, 16, 17, 18, 40):
        assert talk.complain4(kind, 0) is None
    assert talk.dropped() == 5


# Figure 3: byte of the IPv4 header -> byte of the IPv6 header.
TO_SIX = {0: 0, 1: 1, 2: 4, 3: 4, 8: 7, 9: 6} | dict.fromkeys(range(12, 16), 8)
TO_SIX |= dict.fromkeys(range(16, 20), 24)


@pytest.mark.parametrize("code", [0, 2])
def test_rfc7915_4_2_parameter_problems_point_to_the_same_field(code):
    talk = Talk()
    for pointer in (*range(64), 255):
        wanted = (4, 0, TO_SIX[pointer]) if pointer in TO_SIX else None
        assert became(talk.complain4(12, code, pointer << 24 | 0xABCDEF)) == wanted, pointer
    assert talk.dropped() == 65 - len(TO_SIX)


# Figure 6: byte of the IPv6 header -> byte of the IPv4 header.
TO_FOUR = {0: 0, 1: 1, 4: 2, 5: 2, 6: 9, 7: 8} | dict.fromkeys(range(8, 24), 12)
TO_FOUR |= dict.fromkeys(range(24, 40), 16)


def test_rfc7915_5_2_parameter_problems_point_to_the_same_field():
    talk = Talk()
    for pointer in (*range(64), 0x4000, 0xFFFFFFFF):
        wanted = (12, 0, TO_FOUR[pointer] << 24) if pointer in TO_FOUR else None
        assert became(talk.complain6(4, 0, pointer)) == wanted, pointer
    assert talk.dropped() == 66 - len(TO_FOUR)


def test_rfc7915_5_2_every_error_to_ipv4():
    talk = Talk()
    for code, wanted in {0: 1, 1: 10, 2: 1, 3: 1, 4: 3}.items():
        assert became(talk.complain6(1, code)) == (3, wanted, 0), code
    assert became(talk.complain6(2, 0, 1400)) == (3, 4, 1380)
    assert became(talk.complain6(3, 0)) == (11, 0, 0)
    assert became(talk.complain6(3, 1)) == (11, 1, 0)
    assert became(talk.complain6(4, 1, 6)) == (3, 2, 0)
    assert became(talk.complain6(4, 2, 40)) is None  # an option: IPv4 has none of these
    assert talk.dropped() == 1
    for kind in (130, 137, 200):  # informational ones
        assert talk.complain6(kind, 0) is None
    assert talk.dropped() == 1


def test_rfc7915_4_2_and_5_2_the_mtu_told():
    """The smallest of: what the router told, and what either side's next hop takes; plus or less
    20 bytes as the packet of the one told has a longer or shorter header."""
    talk = Talk()
    told6 = lambda mtu: became(talk.complain4(3, 4, mtu))[2]  # noqa: E731
    told4 = lambda mtu: became(talk.complain6(2, 0, mtu))[2]  # noqa: E731
    assert [told6(mtu) for mtu in (1300, 1479, 1480, 1481, 1500, 9000)] == [
        1320, 1499, 1500, 1500, 1500, 1500
    ]  # fmt: skip
    assert [told6(mtu) for mtu in (1259, 1260, 1261, 576, 68)] == [1280, 1280, 1281, 1280, 1280]
    assert [told4(mtu) for mtu in (1280, 1400, 1500, 9000)] == [1260, 1380, 1480, 1480]
    # The high half of the word is no part of an IPv4 MTU (RFC 1191 4).
    assert told6(0xFFFF0000 | 1300) == 1320
    route = {"dst": "198.19.0.0", "plen": 24, "kind": "link", "dev": 1, "src": "198.19.0.1"}
    talk.rig.apply("route.set", **route, mtu=1340)
    assert [told6(mtu) for mtu in (1330, 1400)] == [1350, 1360]
    assert [told4(mtu) for mtu in (1355, 1400)] == [1335, 1340]
    talk.rig.apply("route.set", **route)
    way = {"dst": "::", "plen": 0, "kind": "gateway", "via": "2001:db8:1::fe", "dev": 0}
    talk.rig.apply("route.set", **way, mtu=1330)
    assert [told6(mtu) for mtu in (1305, 1400)] == [1325, 1330]
    assert [told4(mtu) for mtu in (1325, 1400)] == [1305, 1310]


@pytest.mark.parametrize(
    ("total", "told"), [(1200, 1280), (1493, 1500), (2002, 1500), (2003, 2022), (4353, 4372)]
)  # fmt: skip
def test_rfc7915_4_2_a_router_that_tells_no_mtu(total, told):
    """The largest plateau of RFC 1191 7 below the length of the quoted packet, plus 20."""
    talk = Talk()
    for port in (0, 1):
        mtu = 1500 if told <= 1500 else 9000
        talk.rig.apply("dev.set", id=port, mac=f"02:00:00:00:00:0{port + 1}", mtu=mtu)
    quoted = IP(talk.out[14:])
    quoted.len = total
    del quoted.chksum
    assert became(talk.complain4(3, 4, 0, bytes(quoted))) == (2, 0, told)


def test_rfc7915_4_1_expired_source_routes_and_all_others_go_nowhere():
    """Options are left behind, but a source route is no option to ignore: dropped for all."""
    talk = Talk()
    layer = oracle.segment("udp", 8080, Ether(talk.out)[UDP].sport, payload=b"data")
    route = b"\x83\x07\x04\xc6\x12\x00\x01\x00"
    frame = oracle.frame(FROM_SERVER, (SERVER, LOCAL), layer, options=route)
    assert talk.rig.exchange(1, frame) == [[], []]
    assert talk.rig.drops() == {"ip_source_route": 1}


def test_rfc7915_5_1_routing_headers_with_segments_left():
    """Not translated.  The address is ours, so the sender is told as RFC 8200 4.4 has it: of the
    type of the header (byte 2 of it), not of the segments left."""
    talk = Talk()
    layer = oracle.segment("udp", 1000, 80, payload=b"data")
    routing = IPv6ExtHdrRouting(type=4, segleft=1, addresses=["2001:db8::5"])
    frame = frame6(FROM_CLIENT, (CLIENT6, VIP6), routing / layer)
    (error,), lan = talk.rig.exchange(0, frame)
    assert lan == [] and talk.rig.drops() == {"ip6_routing": 1}
    problem = Ether(error)[ICMPv6ParamProblem]
    assert (problem.code, problem.ptr) == (0, 42)
    assert Ether(error)[IPv6].dst == CLIENT6


def test_rfc7915_5_1_1_identifications_differ():
    """Packets that may be fragmented need one each (RFC 6864)."""
    talk = Talk()
    frames = [
        frame6(FROM_CLIENT, (CLIENT6, VIP6), oracle.segment("udp", 1000, 80, payload=bytes(i)))
        for i in range(60)
    ]
    _, lan = talk.rig.exchange(0, *frames)
    assert len({Ether(frame)[IP].id for frame in lan}) == 60


def test_rfc7915_4_3_and_5_3_what_is_quoted_of_a_translated_error_is_whole():
    """The quoted checksum is right for the quoted header, in both families."""
    talk = Talk()
    message = talk.complain4(3, 1)
    assert message[8:] == talk.raw[14:]
    message = talk.complain6(1, 0)
    quoted = IP(message[8:])
    assert checksum(message[8:28]) == 0
    assert bytes(quoted.payload) == talk.answer[34:]
    assert (quoted.src, quoted.dst, quoted.ttl) == (SERVER, LOCAL, Ether(talk.back).hlim)


def test_rfc7915_4_4_and_5_4_an_error_of_ours_is_of_the_senders_family():
    talk = Talk()
    talk.rig.apply("param.set", xmit_ttl=1)
    layer = oracle.segment("udp", 1000, 80)
    (error,), _ = talk.rig.exchange(0, frame6(FROM_CLIENT, (CLIENT6, VIP6), layer, hlim=1))
    assert (error[12:14], error[20], error[54]) == (b"\x86\xdd", 58, 3)
    _, (error,) = talk.rig.exchange(1, answer(talk.out, "udp", ttl=1))
    assert Ether(error)[ICMP].type == 11 and Ether(error)[IP].dst == SERVER
