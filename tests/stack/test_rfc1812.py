"""RFC 1812 by clause, where the balancer forwards like a router (with RFC 1122, 2644 and 792)."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

from tests import crafted as net


@pytest.fixture
def rig():
    made = net.network()
    made.apply("param.set", forwarding=1)
    net.know_all(made)
    yield made
    assert made.in_flight() == 0


@pytest.mark.parametrize("dst", ["198.19.0.255", "198.19.0.0"])
def test_rfc1812_5_3_5_2_rfc2644_directed_broadcasts_are_not_forwarded(rig, dst):
    """To all hosts of a link of ours, in either form: dropped, nobody is asked for the address."""
    for frame in (net.to_lan(dst=dst), net.ping(dst=dst), net.syn(dst=dst)):
        assert net.send(rig, net.WAN, frame) == [[], []]
    assert rig.drops() == {"ip_destination": 3}


@pytest.mark.parametrize("src", ["198.18.0.255", "198.18.0.0"])
def test_rfc1812_5_3_7_rfc1122_3_2_1_3_a_broadcast_address_sends_nothing(rig, src):
    """As a source it would turn every answer and every error into a broadcast."""
    for frame in (net.to_lan(src=src), net.to_lan(src=src, ttl=1), net.ping(src=src)):
        assert net.send(rig, net.WAN, frame) == [[], []]
    assert rig.drops() == {"ip_source": 3}


def test_rfc3021_a_link_of_two_addresses_has_no_broadcast(rig):
    rig.apply("route.set", dst="192.0.2.10", plen=31, kind="link", dev=net.LAN, src=net.LAN_IP)
    for last, address in enumerate(("192.0.2.10", "192.0.2.11")):
        rig.apply(
            "neigh.set", addr=address, dev=net.LAN, mac=f"02:bb:00:00:01:0{last}", static=True
        )
        assert len(net.send(rig, net.WAN, net.to_lan(dst=address))[1]) == 1
    back = net.to_lan(src="192.0.2.11", dst=net.CLIENT)
    back.dst = net.MACS[net.LAN]
    assert len(net.send(rig, net.LAN, back)[0]) == 1


def test_rfc1812_5_3_5_1_the_limited_broadcast_is_not_forwarded(rig):
    assert net.send(rig, net.WAN, net.to_lan(dst="255.255.255.255")) == [[], []]
    assert rig.drops() == {"ip_destination": 1}


def test_rfc1812_5_3_4_a_packet_in_a_broadcast_frame_is_not_forwarded(rig):
    for mac in ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"):
        frame = net.to_lan()
        frame.dst = mac
        assert net.send(rig, net.WAN, frame) == [[], []]
    assert rig.drops() == {"ip_broadcast": 2}


def test_rfc1812_4_2_2_5_a_wrong_header_checksum_is_not_made_right(rig):
    frame = bytearray(bytes(net.to_lan()))
    frame[24] ^= 1
    assert net.send(rig, net.WAN, bytes(frame)) == [[], []]
    assert rig.drops() == {"ip_checksum": 1}


@pytest.mark.parametrize("tos", [0, 0x10, 0xB8, 0xE0, 0xFF])
def test_rfc1812_5_3_2_and_5_3_3_type_of_service_goes_along(rig, tos):
    (sent,) = net.send(rig, net.WAN, net.to_lan(tos=tos))[1]
    assert net.checked(sent)[IP].tos == tos


def error_of(rig, frame):
    """The ICMP error that a frame from the wan brings back there."""
    (answer,), lan = net.send(rig, net.WAN, frame)
    assert lan == []
    return Ether(answer)


def test_rfc1812_4_3_2_4_an_error_comes_from_the_interface_it_leaves_by(rig):
    error = error_of(rig, net.to_lan(ttl=1))
    assert (error[IP].src, error[IP].dst) == (net.WAN_IP, net.CLIENT)


def test_rfc1812_4_3_2_5_errors_are_internetwork_control(rig):
    for frame in (net.to_lan(ttl=1, tos=0x20), net.to_lan(dst="8.8.8.8", tos=0xFF)):
        assert error_of(rig, frame)[IP].tos == 0xC0


@pytest.mark.parametrize("size", [10, 519, 520, 521, 1400])
def test_rfc1812_4_3_2_3_as_much_is_quoted_as_fits_576_bytes(rig, size):
    frame = net.to_lan(size=size, ttl=1)
    error = error_of(rig, frame)
    assert bytes(error)[42:] == bytes(frame)[14 : 14 + 548]
    assert error[IP].len == min(576, 28 + 28 + size)


def test_rfc1812_4_3_3_1_no_route_is_network_unreachable(rig):
    error = error_of(rig, net.to_lan(dst="8.8.8.8"))
    assert (error[ICMP].type, error[ICMP].code) == (3, 0)


def test_rfc1812_4_3_3_6_echo_data_comes_back_unchanged_from_the_address_asked(rig):
    for size in (0, 1, 56, 1472):
        frame = net.ping(size)
        answer = Ether(net.send(rig, net.WAN, frame)[0][0])
        assert (answer[IP].src, answer[IP].dst) == (net.WAN_IP, net.CLIENT)
        assert bytes(answer)[38:] == bytes(frame)[38:] and answer[ICMP].type == 0


@pytest.mark.parametrize("kind", [1, 2, 7, 10, 15, 16, 17, 18, 19, 30, 41, 200, 255])
def test_rfc1122_3_2_2_messages_of_unknown_type_are_silently_dropped(rig, kind):
    assert net.send(rig, net.WAN, net.ping(kind=kind)) == [[], []]
    assert rig.drops() == {"icmp_type": 1}


def test_rfc1812_5_2_7_2_no_redirects(rig):
    """A packet that leaves by the port it came in on is just forwarded (as the reference does)."""
    wan, lan = net.send(rig, net.WAN, net.to_lan(dst="203.0.113.9"))
    assert lan == [] and len(wan) == 1 and Ether(wan[0])[IP].dst == "203.0.113.9"


def test_rfc791_3_2_only_a_whole_datagram_is_delivered_to_us(rig):
    """Pings of ours in fragments are not answered: a balancer puts nothing together."""
    frame = net.ping(64, flags="MF")
    assert net.send(rig, net.WAN, frame) == [[], []]
    assert rig.drops() == {"ip_fragment": 1}


def test_rfc792_a_host_that_does_not_answer_is_unreachable(rig):
    """RFC 1812 4.3.3.1: code 1 for each packet that waited for its address; rate-limited."""
    absent = "198.19.0.77"
    frames = [net.to_lan(dst=absent, size=size) for size in (10, 20)]
    wan, lan = net.send(rig, net.WAN, *frames)
    assert wan == [] and {frame[12:14] for frame in lan} == {b"\x08\x06"}
    wan, _ = net.wait(rig, 4000)
    errors = [Ether(frame) for frame in wan]
    assert [(error[ICMP].type, error[ICMP].code) for error in errors] == [(3, 1)] * 2
    for error, frame in zip(errors, frames, strict=True):
        assert (error[IP].src, error[IP].dst) == (net.WAN_IP, net.CLIENT)
        quoted = bytes(error)[42:]
        assert quoted[20:] == bytes(frame)[34:]
    assert rig.drops() == {"neigh_failed": 2}
