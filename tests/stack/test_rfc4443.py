"""RFC 4443 by clause: who gets an ICMPv6 error, from whom, and how much of the packet is in it."""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    ICMPv6Unknown,
    IPv6,
)
from scapy.layers.l2 import Ether

from tests import net6
from tests.net6 import (
    ALL_MAC,
    ALL_NODES,
    CLIENT6,
    CLIENT_MAC,
    SERVER6,
    VIP6,
    WAN,
    WAN6,
    frame,
    link_local,
    ping,
    raw,
    send,
)


@pytest.fixture
def rig():
    made = net6.know(net6.network())
    yield made
    assert made.in_flight() == 0


def dying(**fields):
    """A packet that a router would have to complain about."""
    return frame(UDP(sport=5, dport=9) / raw(40), **({"dst": SERVER6, "hlim": 1} | fields))


NO_ERROR = {
    "2_4_e_3_to_a_group": dying(dst="ff05::1:3", to="33:33:00:01:00:03"),
    "2_4_e_4_in_a_multicast_frame": dying(to=ALL_MAC),
    "2_4_e_5_in_a_broadcast_frame": dying(to="ff:ff:ff:ff:ff:ff"),
    "2_4_e_6_from_nobody": dying(src="::"),
    "2_4_e_6_from_a_group": dying(src="ff02::1"),
    "2_4_e_6_from_loopback": dying(src="::1"),
    "2_4_e_1_about_an_error": frame(ICMPv6TimeExceeded() / raw(48), dst=SERVER6, hlim=1),
}


@pytest.mark.parametrize("name", NO_ERROR)
def test_rfc4443_2_4_e_no_error_about(rig, name):
    assert send(rig, WAN, NO_ERROR[name]) == [[], []]
    assert sum(rig.drops().values()) == 1


def test_rfc4443_2_4_e_but_about_the_same_packet_of_a_host(rig):
    (sent,) = send(rig, WAN, dying())[0]
    assert ICMPv6TimeExceeded in Ether(sent)


@pytest.mark.parametrize("kind", [5, 42, 99, 100, 101, 127, 130, 150, 200, 201, 255])
def test_rfc4443_2_4_a_b_messages_of_unknown_type_get_no_answer(rig, kind):
    message = frame(ICMPv6Unknown(type=kind, msgbody=bytes(60)))
    assert send(rig, WAN, message) == [[], []]
    assert sum(rig.drops().values()) == 1


@pytest.mark.parametrize("size", [0, 100, 1183, 1184, 1185, 1400])
def test_rfc4443_2_4_c_as_much_is_quoted_as_fits_1280_bytes(rig, size):
    about = frame(UDP(sport=5, dport=9) / raw(size), dst=SERVER6, hlim=1)
    (sent,) = send(rig, WAN, about)[0]
    assert sent[62:] == bytes(about)[14 : 14 + 1232]
    assert Ether(sent)[IPv6].plen == min(1240, 8 + 48 + size)


@pytest.mark.parametrize("target", [WAN6, VIP6])
def test_rfc4443_2_2_a_an_answer_comes_from_the_address_asked(rig, target):
    (sent,) = send(rig, WAN, ping(8, dst=target))[0]
    assert Ether(sent)[IPv6].src == target


def test_rfc4443_2_2_b_else_from_one_of_the_way_back(rig):
    """Also for echo requests to a group (4.2) and to hosts that only know their link."""
    (sent,) = send(rig, WAN, dying())[0]
    assert (Ether(sent)[IPv6].src, Ether(sent)[IPv6].dst) == (WAN6, CLIENT6)
    peer = link_local(CLIENT_MAC)
    (sent,) = send(rig, WAN, ping(8, src=peer, dst=ALL_NODES, to=ALL_MAC))[0]
    assert Ether(sent)[IPv6].src == net6.OURS[0]


def test_rfc4443_2_3_a_wrong_checksum_is_silently_dropped(rig):
    request = bytearray(bytes(ping(20)))
    request[-1] ^= 1
    assert send(rig, WAN, bytes(request)) == [[], []]
    assert rig.drops() == {"icmp6_checksum": 1}


def test_rfc4443_3_1_no_route_and_3_2_the_mtu(rig):
    (sent,) = send(rig, WAN, dying(dst="2001:db8:ffff::1", hlim=9))[0]
    assert Ether(sent)[ICMPv6DestUnreach].code == 0
    large = frame(UDP(sport=5, dport=9) / raw(1453), dst=SERVER6)
    (sent,) = send(rig, WAN, large)[0]
    assert (Ether(sent)[ICMPv6PacketTooBig].code, Ether(sent)[ICMPv6PacketTooBig].mtu) == (0, 1500)
