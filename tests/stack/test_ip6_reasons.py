"""Every IPv6 drop reason is reached by a packet, and by nothing else than the fault it names."""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLReport,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from stack import mld_table
from stack.drops import IP6_BASE, REASONS
from tests import net6
from tests.net6 import CLIENT6, CLIENT_MAC, LAN6, SERVER6, WAN6, advertisement, frame, ping
from tests.rig import MACS

ECHO = ICMPv6EchoRequest(id=1, seq=2, data=b"x" * 8)


def damaged(packet, offset, value):
    """The frame with one byte changed, checksums as they were."""
    data = bytearray(bytes(packet))
    data[offset] = value
    return bytes(data)


def extended(kind, *content):
    """An echo request behind a header of eight bytes, ``content`` its last six."""
    return frame(Raw(bytes([58, 0, *content])) / Raw(bytes(ECHO)), nh=kind)


def headers(count):
    """An echo request behind so many empty destination option headers."""
    packet = ECHO
    for _ in range(count):
        packet = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / packet
    return frame(packet)


def off(rig):
    rig.apply("param.set", forwarding6=0)


def disabled(rig):
    rig.apply("param.set", disable6=1)


def no_addresses(rig):
    rig.apply("addr.del", addr=net6.OURS[0], dev=0)
    for address in (net6.OURS[0], WAN6):
        rig.apply("route.del", dst=address, plen=128)
    rig.apply("route.del", dst="2001:db8:1::", plen=64)


def too_many_groups(rig):
    table = mld_table.MldTable(rig.stack.mld)
    table.high = mld_table.GROUPS
    for group in table.group:
        group.state = mld_table.MEMBER
    rig.apply("addr.set", addr="2001:db8:1::1:50", dev=0, plen=64)


BIG = frame(net6.raw(1461), dst=SERVER6, nh=17)
PING_ALL = ping(dst=net6.ALL_NODES, to="33:33:00:00:00:01")
CASES = {
    "ip6_disabled": (disabled, ping()),
    "ip6_short": (None, bytes(ping())[:53]),
    "ip6_version": (None, damaged(ping(), 14, 0x50)),
    "ip6_length": (None, bytes(ping())[:-1]),
    "ip6_source": (None, ping(src="ff02::1")),
    "ip6_destination": (None, ping(dst="::1")),
    "ip6_loop": (None, ping(src=LAN6)),
    "ip6_ext_short": (None, frame(Raw(bytes([58, 9, 1, 4, 0, 0, 0, 0])) / ECHO, nh=60)),
    "ip6_ext_order": (None, frame(IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / ECHO)),
    "ip6_ext_option": (None, extended(60, 0x45, 4, 0, 0, 0, 0)),
    "ip6_ext_many": (None, headers(9)),
    "ip6_routing": (None, frame(IPv6ExtHdrRouting(type=0, addresses=[LAN6]) / ECHO)),
    "ip6_fragment": (None, frame(IPv6ExtHdrFragment(m=1, id=5) / ECHO)),
    "ip6_protocol": (None, frame(Raw(bytes(8)), nh=99)),
    "ip6_no_next": (None, frame(Raw(b""), nh=59)),
    "ip6_no_route": (None, ping(dst="2001:db8:ffff::1")),
    "ip6_hops": (None, ping(dst=SERVER6, hlim=1)),
    "ip6_too_big": (None, BIG),
    "ip6_not_forwarded": (off, ping(dst=SERVER6)),
    "ip6_scope": (None, ping(dst="fe80::1234")),
    "ip6_group": (None, ping(dst="ff02::2", to="33:33:00:00:00:02")),
    "ip6_no_source": (no_addresses, PING_ALL),
    "icmp6_short": (None, frame(Raw(b"\x80\0\0\0"), nh=58)),
    "icmp6_checksum": (None, damaged(ping(), 56, 0x12)),
    "icmp6_type": (None, frame(ICMPv6EchoReply(id=1, seq=1))),
    "nd_hop_limit": (None, net6.solicitation(WAN6, hlim=254)),
    "nd_format": (None, net6.solicitation(WAN6, code=1)),
    "nd_sender": (None, advertisement(WAN6, CLIENT_MAC, src=CLIENT6)),
    "nd_target": (None, net6.solicitation("2001:db8:1::77", dst=WAN6, to=MACS[0])),
    "nd_router": (None, frame(ICMPv6ND_RA(), src=net6.link_local(CLIENT_MAC), hlim=255)),
    "nd_done": (None, advertisement(CLIENT6, CLIENT_MAC)),
    "mld_hop_limit": (None, net6.query(hlim=2)),
    "mld_sender": (None, net6.query(src=CLIENT6)),
    "mld_alert": (None, net6.query(option=None)),
    "mld_format": (None, net6.query(code=1)),
    "mld_other": (None, frame(IPv6ExtHdrHopByHop() / ICMPv6MLReport(mladdr="ff02::1:ff00:5"))),
    "mld_done": (None, net6.query()),
    "mld_full": (too_many_groups, ping()),
}


@pytest.mark.parametrize("name", CASES)
def test_ipv6_reason_is_reached(name):
    prepare, packet = CASES[name]
    rig = net6.know(net6.network())
    if prepare:
        prepare(rig)
    net6.send(rig, net6.WAN, packet)
    assert rig.drops() == {name: 1}
    assert rig.in_flight() == 0


def test_every_ipv6_reason_is_exercised():
    assert set(CASES) == {name for number, (name, _) in REASONS.items() if number >= IP6_BASE}


OTHERS = {
    # RFC 8200 section 3: next header and lengths; RFC 4291 2.5 and 2.7: addresses
    "rfc4291_2_5_3_loopback_source": ("ip6_source", ping(src="::1")),
    "rfc4291_2_5_2_unspecified_source": ("ip6_source", ping(src="::")),
    "rfc4291_2_5_2_unspecified_destination": ("ip6_destination", ping(dst="::")),
    "rfc4038_4_2_mapped_source": ("ip6_source", ping(src="::ffff:198.18.0.1")),
    "rfc4291_2_7_interface_local_group": (
        "ip6_destination",
        ping(dst="ff01::1", to="33:33:00:00:00:01"),
    ),
    "rfc4291_2_7_reserved_scope": (
        "ip6_destination",
        ping(dst="ff00::1", to="33:33:00:00:00:01"),
    ),
    "source_is_destination": ("ip6_loop", ping(src=SERVER6, dst=SERVER6)),
    "rfc2464_7_unicast_in_multicast_frame": ("ip_broadcast", ping(to="33:33:00:00:00:01")),
    "rfc2464_7_group_in_another_groups_frame": (
        "ip_broadcast",
        ping(dst="ff02::1", to="33:33:00:00:00:05"),
    ),
    "another_hosts_frame": ("eth_otherhost", ping(to="02:00:00:00:00:99")),
    "rfc2675_jumbogram": (
        "ip6_ext_short",
        frame(Raw(bytes([58, 0, 0xC2, 4, 0, 1, 0, 0])) / ECHO, nh=0, plen=0),
    ),
    "rfc8200_4_2_option_longer_than_its_header": (
        "ip6_ext_short",
        extended(0, 1, 9, 0, 0, 0, 0),
    ),
    "rfc8200_4_2_option_without_length": (
        "ip6_ext_short",
        extended(60, 1, 3, 0, 0, 0, 5),
    ),
    "rfc8200_4_8_header_cut_short": ("ip6_ext_short", frame(Raw(bytes([58, 0, 1, 4])), nh=60)),
    "rfc8200_4_5_fragment_of_a_service": (
        "ip6_fragment",
        frame(IPv6ExtHdrFragment(offset=100) / Raw(bytes(64)), dst=net6.VIP6),
    ),
    "udp_without_service": ("no_service", frame(UDP(dport=53) / Raw(b"x"), dst=net6.VIP6)),
    "rfc4861_6_1_1_router_solicitation": (
        "nd_router",
        frame(ICMPv6ND_RS(), dst="ff02::1", to="33:33:00:00:00:01", hlim=255),
    ),
    "rfc4443_2_4_unknown_informational": (
        "icmp6_type",
        frame(Raw(b"\xc8\0" + bytes(6)), nh=58),
    ),
}


def checksum_of(packet):
    """The unknown message with its checksum filled in."""
    from scapy.layers.inet6 import in6_chksum

    body = bytearray(bytes(packet[IPv6].payload))
    value = in6_chksum(58, packet[IPv6], bytes(body))
    body[2:4] = value.to_bytes(2, "big")
    return (
        bytes(Ether(src=CLIENT_MAC, dst=MACS[0]))[:12]
        + b"\x86\xdd"
        + bytes(packet[IPv6])[:40]
        + bytes(body)
    )


@pytest.mark.parametrize("name", OTHERS)
def test_other_ways_to_be_dropped(name):
    reason, packet = OTHERS[name]
    if name == "rfc4443_2_4_unknown_informational":
        packet = checksum_of(packet)
    rig = net6.know(net6.network())
    net6.send(rig, net6.WAN, packet)
    assert rig.drops() == {reason: 1}
    assert rig.in_flight() == 0


def test_every_prefix_of_a_frame_is_dropped_by_name():
    rig = net6.know(net6.network())
    whole = bytes(frame(IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / ECHO))
    for size in range(14, len(whole)):
        net6.send(rig, net6.WAN, whole[:size])
    drops = rig.drops()
    assert set(drops) == {"ip6_short", "ip6_length"}
    assert sum(drops.values()) == len(whole) - 14
    rig.clock += 1000
    assert len(net6.send(rig, net6.WAN, whole)[0]) == 1
