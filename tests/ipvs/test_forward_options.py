"""Packets with IP options: they leave with their options, rewritten like any other packet."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, IPOption
from scapy.layers.l2 import Ether
from scapy.utils import checksum

from tests import oracle
from tests.rig import Rig
from tests.topology import (
    GATEWAY_MAC,
    LAN_MAC,
    LOCAL,
    SERVER_MACS,
    SERVERS,
    VIP,
    WAN_MAC,
    dest,
    network,
    service,
)

CLIENT = "203.0.113.9"
OPTIONS = {
    "nop": b"\x01\x01\x01\x01",
    "router alert": b"\x94\x04\x00\x00",
    "timestamp": b"\x44\x08\x05\x00\x00\x00\x00\x00",
    "record route": b"\x07\x07\x04\x00\x00\x00\x00\x00",
    "end first": b"\x00\x00\x00\x00",
    "longest": b"\x01" * 40,
}


def packet(options, proto="tcp", flags="S", **fields):
    layer = oracle.segment(proto, 4000, 80, flags, b"data")
    return oracle.frame(
        (GATEWAY_MAC, WAN_MAC), (CLIENT, VIP), layer, options=[IPOption(options)], **fields
    )


def inserted(options):
    """A frame with option bytes that no packet library would agree to make."""
    raw = packet(b"")
    ip = IP(raw[14:34])
    ip.ihl, ip.len = 5 + len(options) // 4, ip.len + len(options)
    ip = bytes(ip)[:10] + b"\0\0" + bytes(ip)[12:20] + options
    return raw[:14] + ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:] + raw[34:]


def balancer(mode="fullnat", proto="tcp"):
    rig = network(Rig())
    service(rig, [dest(0, mode=mode)], proto=proto)
    return rig


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_new_and_known_connection(options, proto):
    rig = balancer(proto=proto)
    raw = packet(options, proto)
    for _ in range(2):
        wan, (out,) = rig.exchange(0, raw)
        local = Ether(out)[IP].payload.sport
        tuple_ = ((LOCAL, local), (SERVERS[0], 8080))
        assert out == oracle.rewritten(raw, (LAN_MAC, SERVER_MACS[0]), *tuple_)
        assert wan == []
    layer = oracle.segment(proto, 8080, local, "SA", b"answer")
    macs = (SERVER_MACS[0], LAN_MAC)
    raw = oracle.frame(macs, (SERVERS[0], LOCAL), layer, options=[IPOption(options)])
    wan, lan = rig.exchange(1, raw)
    tuple_ = ((VIP, 80), (CLIENT, 4000))
    assert wan == [oracle.rewritten(raw, (WAN_MAC, GATEWAY_MAC), *tuple_)] and lan == []
    assert rig.applier.connections() == 1
    assert rig.drops() == {} and rig.in_flight() == 0


def test_known_connection_is_found_with_and_without_options():
    rig = balancer()
    _, (plain,) = rig.exchange(0, packet(b""))
    _, (other,) = rig.exchange(0, packet(OPTIONS["nop"], flags="A"))
    assert Ether(plain)["TCP"].sport == Ether(other)["TCP"].sport
    assert rig.applier.connections() == 1


BAD = {
    "length 0": (b"\x07\x00\x00\x00", "ip_options"),
    "length 1": (b"\x07\x01\x00\x00", "ip_options"),
    "beyond the header": (b"\x44\x08\x05\x00", "ip_options"),
    "no length": (b"\x01\x01\x01\x07", "ip_options"),
    "loose source route": (b"\x83\x07\x04\x0a\x00\x00\x01\x00", "ip_source_route"),
    "strict source route": (b"\x89\x07\x04\x0a\x00\x00\x01\x00", "ip_source_route"),
}


@pytest.mark.parametrize(("options", "reason"), BAD.values(), ids=BAD.keys())
def test_bad_options_are_dropped_by_name(options, reason):
    rig = balancer()
    assert rig.exchange(0, inserted(options)) == [[], []]
    assert rig.drops() == {reason: 1}
    assert rig.applier.connections() == 0 and rig.in_flight() == 0


def test_header_length_beyond_the_packet():
    rig = balancer()
    raw = bytearray(packet(b"\x01" * 40))
    assert rig.exchange(0, bytes(raw[: 14 + 40])) == [[], []]
    assert set(rig.drops()) <= {"ip_header_length", "ip_total_length"}


def test_tcp_header_is_looked_for_behind_the_options():
    """40 bytes of options and a total length that leaves 10 bytes of TCP."""
    rig = balancer()
    raw = packet(b"\x01" * 40)
    ip = IP(raw[14:])
    ip.len, cut = 70, bytes(ip)[:70]
    del ip.chksum
    cut = bytes(ip)[:60] + cut[60:70]
    assert rig.exchange(0, raw[:14] + cut) == [[], []]
    assert rig.drops() == {"l4_short": 1} and rig.in_flight() == 0
