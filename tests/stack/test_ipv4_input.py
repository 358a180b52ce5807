"""IPv4 input: every check of a header by itself, with and without a connection to fall for it."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from runtime.intrinsics import store64
from stack.drops import DROP_SLOTS
from tests import crafted as net
from tests.rig import MACS


@pytest.fixture(scope="module")
def shared():
    rig = net.network()
    rig.apply("param.set", forwarding=1)
    net.know_all(rig)
    net.service(rig)
    net.send(rig, net.WAN, net.syn())
    return rig


@pytest.fixture
def rig(shared):
    """The same network for all tests, drop counters at zero, with an open connection."""
    for number in range(DROP_SLOTS):
        store64(shared.stack.drops + number * 8, 0)
    net.know_all(shared)
    yield shared
    assert shared.in_flight() == 0


def fix_sum(frame, size=20):
    """The frame with the checksum of its IP header of ``size`` bytes made right."""
    header = bytearray(frame[14 : 14 + size])
    header[10:12] = b"\0\0"
    total = sum(struct.unpack(f">{size // 2}H", header))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    header[10:12] = struct.pack(">H", total ^ 0xFFFF)
    return frame[:14] + bytes(header) + frame[14 + size :]


def put(frame, at, data, size=20):
    """``data`` at an offset of the IP header, checksum right."""
    frame = bytes(frame)
    return fix_sum(frame[: 14 + at] + data + frame[14 + at + len(data) :], size)


def options(data):
    """A forwardable packet with these raw option bytes (a multiple of 4)."""
    frame = bytes(net.to_lan())
    size = 20 + len(data)
    total = struct.pack(">H", len(frame) - 14 + len(data))
    head = bytes([0x40 | size // 4]) + frame[15:16] + total + frame[18:34]
    return fix_sum(frame[:14] + head + data + frame[34:], size)


GOOD = bytes(net.syn(flags="A"))
HEADER_CASES = {
    "empty frame": (b"", "eth_short"),
    "no Ethernet header": (GOOD[:13], "eth_short"),
    "nothing behind Ethernet": (GOOD[:14], "ip_short"),
    "cut in the IP header": (GOOD[:33], "ip_short"),
    "IPv6 EtherType": (GOOD[:12] + b"\x86\xdd" + GOOD[14:], "ip6_version"),
    "802.3 length": (GOOD[:12] + b"\x00\x28" + GOOD[14:], "eth_type"),
    "version 6": (put(GOOD, 0, b"\x65"), "ip_version"),
    "version 0": (put(GOOD, 0, b"\x05"), "ip_version"),
    "header of 16 bytes": (put(GOOD, 0, b"\x44"), "ip_header_length"),
    "header of 0 bytes": (put(GOOD, 0, b"\x40"), "ip_header_length"),
    "header beyond the frame": (put(GOOD, 0, b"\x4f"), "ip_header_length"),
    "total below the header": (put(GOOD, 2, b"\x00\x13"), "ip_total_length"),
    "total of 0": (put(GOOD, 2, b"\x00\x00"), "ip_total_length"),
    "total beyond the frame": (put(GOOD, 2, b"\x00\x29"), "ip_total_length"),
    "total of 65535": (put(GOOD, 2, b"\xff\xff"), "ip_total_length"),
    "checksum wrong": (GOOD[:24] + bytes([GOOD[24] ^ 1]) + GOOD[25:], "ip_checksum"),
    "more fragments": (put(GOOD, 6, b"\x20\x00"), "frag_form"),
    "a fragment beyond 65535": (put(GOOD, 6, b"\x1f\xff"), "frag_form"),
    "cut in the TCP header": (put(GOOD[:53], 2, b"\x00\x27"), "l4_short"),
    "TCP header by padding only": (put(GOOD, 2, b"\x00\x27"), "l4_short"),
    "data offset 4": (GOOD[:46] + b"\x40" + GOOD[47:], "tcp_offset"),
    "data offset beyond": (GOOD[:46] + b"\x60" + GOOD[47:], "tcp_offset"),
    "another host's MAC": (b"\x02\xcc\0\0\0\1" + GOOD[6:], "eth_otherhost"),
    "broadcast frame": (b"\xff" * 6 + GOOD[6:], "ip_broadcast"),
    "multicast frame": (b"\x01\0\x5e\0\0\1" + GOOD[6:], "ip_broadcast"),
}


@pytest.mark.parametrize(("frame", "reason"), HEADER_CASES.values(), ids=list(HEADER_CASES))
def test_a_broken_packet_of_a_connection_is_dropped_by_name(rig, frame, reason):
    assert net.send(rig, net.WAN, frame) == [[], []]
    assert rig.drops() == {reason: 1}


def test_the_packet_these_were_made_of_is_forwarded(rig):
    assert len(net.send(rig, net.WAN, GOOD)[1]) == 1


ADDRESSES = {
    "this network": ("0.0.0.0", net.SERVER, "ip_source"),
    "0/8": ("0.1.2.3", net.SERVER, "ip_source"),
    "loopback source": ("127.0.0.1", net.SERVER, "ip_source"),
    "multicast source": ("224.0.0.1", net.SERVER, "ip_source"),
    "class E source": ("240.0.0.1", net.SERVER, "ip_source"),
    "broadcast source": ("255.255.255.255", net.SERVER, "ip_source"),
    "to this network": (net.CLIENT, "0.0.0.1", "ip_destination"),
    "to loopback": (net.CLIENT, "127.1.2.3", "ip_destination"),
    "to class E": (net.CLIENT, "241.0.0.1", "ip_destination"),
    "to broadcast": (net.CLIENT, "255.255.255.255", "ip_destination"),
    "to multicast": (net.CLIENT, "224.0.0.5", "ip_destination"),
    "to itself": (net.CLIENT, net.CLIENT, "ip_loop"),
    "our address to a host": (net.WAN_IP, net.SERVER, "ip_loop"),
    "our other port's address": (net.LAN_IP, net.SERVER, "ip_loop"),
}


@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp", "other"])
@pytest.mark.parametrize(("src", "dst", "reason"), ADDRESSES.values(), ids=list(ADDRESSES))
def test_addresses_that_may_not_be_on_the_wire(rig, kind, src, dst, reason):
    frame = {
        "tcp": net.syn(src=src, dst=dst),
        "udp": net.udp(src=src, dst=dst),
        "icmp": net.ping(src=src, dst=dst),
        "other": net.ether() / IP(src=src, dst=dst, proto=47) / b"12345678",
    }[kind]
    assert net.send(rig, net.WAN, frame) == [[], []]
    assert rig.drops() == {reason: 1}


def test_our_own_address_as_client_of_a_service_opens_nothing(rig):
    """A spoofed source: the server does not even hear of it."""
    assert net.send(rig, net.WAN, net.syn(src=net.VIP, sport=80)) == [[], []]
    assert net.send(rig, net.WAN, net.syn(src=net.WAN_IP, sport=99)) == [[], []]
    assert rig.drops() == {"ip_loop": 2}


UDP = bytes(net.udp(dst=net.SERVER, size=10))
UDP_CASES = {
    "cut": (put(UDP[:41], 2, b"\x00\x1b"), "l4_short"),
    "length 7": (UDP[:38] + b"\x00\x07" + UDP[40:], "udp_length"),
    "length 0": (UDP[:38] + b"\x00\x00" + UDP[40:], "udp_length"),
    "length beyond": (UDP[:38] + b"\x00\x13" + UDP[40:], "udp_length"),
    "source port 0": (UDP[:34] + b"\x00\x00" + UDP[36:], "l4_port_zero"),
    "destination port 0": (UDP[:36] + b"\x00\x00" + UDP[38:], "l4_port_zero"),
}


@pytest.mark.parametrize(("frame", "reason"), UDP_CASES.values(), ids=list(UDP_CASES))
def test_broken_udp(rig, frame, reason):
    assert net.send(rig, net.WAN, frame) == [[], []]
    assert rig.drops() == {reason: 1}


def test_udp_shorter_than_its_ip_packet_is_no_fault(rig):
    frame = UDP[:38] + b"\x00\x08" + UDP[40:]
    assert len(net.send(rig, net.WAN, frame)[1]) == 1


OPTION_CASES = {
    "end of list": (b"\x00\xff\xff\xff", None),
    "no operations": (b"\x01\x01\x01\x01", None),
    "record route": (b"\x07\x07\x04\0\0\0\0\x00", None),
    "timestamp": (b"\x44\x08\x05\x00\0\0\0\0", None),
    "router alert": (b"\x94\x04\x00\x00", None),
    "loose source route": (b"\x83\x07\x04\x08\x08\x08\x08\x00", "ip_source_route"),
    "strict source route": (b"\x89\x07\x04\x08\x08\x08\x08\x00", "ip_source_route"),
    "source route behind others": (b"\x01\x83\x03\x04", "ip_source_route"),
    "length 0": (b"\x07\x00\x00\x00", "ip_options"),
    "length 1": (b"\x07\x01\x00\x00", "ip_options"),
    "beyond the header": (b"\x07\x05\x00\x00", "ip_options"),
    "no room for a length": (b"\x01\x01\x01\x07", "ip_options"),
    "ten words": (b"\x01" * 40, None),
}


@pytest.mark.parametrize(("data", "reason"), OPTION_CASES.values(), ids=list(OPTION_CASES))
def test_options(rig, data, reason):
    out = net.send(rig, net.WAN, options(data))
    if reason is None:
        assert len(out[1]) == 1 and out[1][0][34 : 34 + len(data)] == data
        net.checked(out[1][0])
    else:
        assert out == [[], []] and rig.drops() == {reason: 1}


def test_padding_is_cut_off(rig):
    for frame, size in ((GOOD, 54), (bytes(net.to_lan(size=1)), 43), (bytes(net.ping(0)), 42)):
        out = net.send(rig, net.WAN, frame + bytes(60 - len(frame)))
        (sent,) = [f for frames in out for f in frames]
        assert len(sent) in (size, 60)
        assert Ether(sent)[IP].len == size - 14
        net.checked(sent)


def test_a_frame_of_several_segments_is_not_touched(rig):
    rig.push(net.WAN, GOOD, segments=2)
    assert rig.at(rig.clock) == [[], []]
    assert rig.drops() == {"segmented": 1}


def test_protocols_nobody_here_speaks(rig):
    frame = net.ether() / IP(src=net.CLIENT, dst=net.VIP, proto=47) / b"12345678"
    assert net.send(rig, net.WAN, frame) == [[], []]
    assert rig.drops() == {"ip_protocol": 1}


def test_what_is_checked_is_the_mac_of_the_port_the_frame_came_in_on(rig):
    frame = bytes.fromhex(MACS[1].replace(":", "")) + GOOD[6:]
    assert net.send(rig, net.WAN, frame) == [[], []]
    assert rig.drops() == {"eth_otherhost": 1}
