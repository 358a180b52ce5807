"""Every byte of forwarded packets, in all modes and both directions, against the slow oracle."""

from __future__ import annotations

import functools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

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

MODES = ("fullnat", "nat", "dr")
SERVER, SERVER_MAC = SERVERS[0], SERVER_MACS[0]
FROM_CLIENT = (GATEWAY_MAC, WAN_MAC)
FROM_SERVER = (SERVER_MAC, LAN_MAC)
TO_SERVER = (LAN_MAC, SERVER_MAC)
TO_CLIENT = (WAN_MAC, GATEWAY_MAC)


@functools.cache
def made_rig(mode, proto):
    rig = network(Rig(capacity=8192))
    service(rig, [dest(0, mode=mode, port=80 if mode == "dr" else 8080)], proto=proto)
    return rig


def rig_of(mode, proto):
    """One balancer a mode and protocol; tests use clients of their own."""
    rig = made_rig(mode, proto)
    rig.apply("param.set", xmit_ttl=0)
    return rig


def port_of(raw, which):
    return struct.unpack_from("!H", raw, 34 + 2 * which)[0]


def expected_to_server(raw, mode, client, out, ttl_step=0):
    """The frame the real server should get; the local port is the balancer's to choose."""
    if mode == "fullnat":
        tuple_ = ((LOCAL, port_of(out, 0)), (SERVER, 8080))
    elif mode == "nat":
        tuple_ = (client, (SERVER, 8080))
    else:
        tuple_ = (client, (VIP, 80))
        ttl_step = 0  # DR leaves the IP header as it is
    return oracle.rewritten(raw, TO_SERVER, *tuple_, ttl_step=ttl_step)


def reply_tuple(mode, client, out):
    """(source, destination) of the server's answer."""
    if mode == "fullnat":
        return (SERVER, 8080), (LOCAL, port_of(out, 0))
    return (SERVER, 8080), client


def no_other(rig, before=None):
    """Nothing was dropped or kept beyond what was before."""
    assert rig.in_flight() == 0
    assert rig.drops() == (before or {})


CLIENTS = st.tuples(
    st.integers(0, 0xFFFFFF).map(lambda n: f"203.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"),
    st.integers(1, 65535),
)
PAYLOADS = st.binary(max_size=70) | st.integers(0, 1440).map(bytes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("proto", ["tcp", "udp"])
@settings(max_examples=20)
@given(data=st.data())
def test_both_directions(mode, proto, data):
    rig = rig_of(mode, proto)
    client, payload, back = data.draw(CLIENTS), data.draw(PAYLOADS), data.draw(PAYLOADS)
    ttl, tos, ident = data.draw(st.tuples(st.integers(1, 255), *[st.integers(0, 255)] * 2))
    step = 1 if ttl > 1 and data.draw(st.booleans()) else 0
    rig.apply("param.set", xmit_ttl=step)
    before = rig.drops()
    layer = oracle.segment(proto, client[1], 80, "S", payload)
    ip = {"ttl": ttl, "tos": tos, "id": ident, "flags": data.draw(st.sampled_from(["", "DF"]))}
    raw = oracle.frame(FROM_CLIENT, (client[0], VIP), layer, **ip)
    for _ in range(2):  # as a new and as a known connection
        wan, lan = rig.exchange(0, raw)
        assert wan == []
        assert lan == [expected_to_server(raw, mode, client, lan[0], step)]
    if mode != "dr":
        source, destination = reply_tuple(mode, client, lan[0])
        layer = oracle.segment(proto, source[1], destination[1], "SA", back)
        answer = oracle.frame(FROM_SERVER, (source[0], destination[0]), layer, **ip)
        wan, lan = rig.exchange(1, answer)
        assert wan == [oracle.rewritten(answer, TO_CLIENT, (VIP, 80), client, step)]
        assert lan == []
    no_other(rig, before)


@pytest.mark.parametrize("mode", MODES)
def test_udp_without_checksum_stays_without(mode):
    rig = rig_of(mode, "udp")
    client = ("203.0.113.1", 5000)
    layer = oracle.segment("udp", client[1], 80, payload=b"odd", chksum=0)
    raw = oracle.frame(FROM_CLIENT, (client[0], VIP), layer)
    _, lan = rig.exchange(0, raw)
    assert lan == [expected_to_server(raw, mode, client, lan[0])]
    assert lan[0][40:42] == b"\0\0"
    if mode != "dr":
        source, destination = reply_tuple(mode, client, lan[0])
        layer = oracle.segment("udp", source[1], destination[1], payload=b"x", chksum=0)
        answer = oracle.frame(FROM_SERVER, (source[0], destination[0]), layer)
        wan, _ = rig.exchange(1, answer)
        assert wan == [oracle.rewritten(answer, TO_CLIENT, (VIP, 80), client)]
        assert wan[0][40:42] == b"\0\0"


def test_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones():
    """RFC 768: zero on the wire means none was computed.  One payload word reaches every sum."""
    rig = rig_of("nat", "udp")
    client = ("203.0.113.2", 5001)
    probe = oracle.frame(
        FROM_CLIENT, (client[0], VIP), oracle.segment("udp", client[1], 80, payload=b"\0\0ab")
    )
    out = oracle.rewritten(probe, TO_SERVER, client, (SERVER, 8080))
    word = out[40:42]  # the one's complement of the sum: adding it makes all ones
    raw = oracle.frame(
        FROM_CLIENT, (client[0], VIP), oracle.segment("udp", client[1], 80, payload=word + b"ab")
    )
    _, lan = rig.exchange(0, raw)
    assert lan[0][40:42] == b"\xff\xff"
    assert lan == [expected_to_server(raw, "nat", client, lan[0])]


@pytest.mark.parametrize("mode", ["fullnat", "nat"])
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_wrong_l4_checksum_stays_wrong(mode, proto):
    """The balancer must not make a damaged payload look whole."""
    rig = rig_of(mode, proto)
    client = ("203.0.113.3", 5002)
    layer = oracle.segment(proto, client[1], 80, "S", b"payload")
    raw = bytearray(oracle.frame(FROM_CLIENT, (client[0], VIP), layer))
    raw[-1] ^= 1
    _, (out,) = rig.exchange(0, bytes(raw))
    ip = Ether(out)[IP]
    stored = ip.payload.chksum
    del ip.payload.chksum
    assert IP(bytes(ip)).payload.chksum != stored


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [0, 1, 5, 6])
def test_ethernet_padding_is_no_payload(mode, size):
    """Frames are at least 60 bytes; what follows the IP packet is not part of it."""
    rig = rig_of(mode, "udp")
    client = ("203.0.113.4", 6000 + size)
    raw = oracle.frame(
        FROM_CLIENT, (client[0], VIP), oracle.segment("udp", client[1], 80, payload=bytes(size))
    )
    padded = raw.ljust(60, b"\0")
    for _ in range(2):
        _, (out,) = rig.exchange(0, padded)
        right = expected_to_server(raw, mode, client, out)
        assert out[: len(right)] == right
        assert len(out) <= 60 and not any(out[len(right) :])


def test_frame_for_another_mac_is_not_forwarded():
    rig = network(Rig())
    service(rig, [dest(0)])
    layer = oracle.segment("tcp", 1000, 80)
    rig.exchange(0, oracle.frame((GATEWAY_MAC, LAN_MAC), ("203.0.113.5", VIP), layer))
    assert rig.drops() == {"eth_otherhost": 1}
    assert rig.applier.connections() == 0
    assert rig.in_flight() == 0


def test_ttl_expires_only_with_xmit_ttl():
    rig = network(Rig())
    service(rig, [dest(0)])
    rig.apply("param.set", xmit_ttl=1)
    layer = oracle.segment("tcp", 1000, 80)
    wan, lan = rig.exchange(0, oracle.frame(FROM_CLIENT, ("203.0.113.5", VIP), layer, ttl=1))
    assert lan == [] and rig.drops() == {"ip_ttl": 1}
    (error,) = [Ether(raw) for raw in wan]
    assert error[IP].dst == "203.0.113.5" and error["ICMP"].type == 11
    assert rig.in_flight() == 0


def test_larger_than_the_mtu_of_the_lan():
    rig = network(Rig())
    service(rig, [dest(0)], proto="udp")
    layer = oracle.segment("udp", 1000, 80, payload=bytes(1473))
    raw = oracle.frame(FROM_CLIENT, ("203.0.113.5", VIP), layer, flags="DF")
    wan, lan = rig.exchange(0, raw)
    assert lan == [] and rig.drops() == {"ip_too_big": 1}
    (error,) = [Ether(raw) for raw in wan]
    assert (error["ICMP"].type, error["ICMP"].code, error["ICMP"].nexthopmtu) == (3, 4, 1500)
    assert rig.in_flight() == 0


def test_a_burst_keeps_its_order():
    rig = network(Rig())
    service(rig, [dest(0)], proto="udp")
    frames = [
        oracle.frame(
            FROM_CLIENT,
            (f"203.0.113.{i % 7}", VIP),
            oracle.segment("udp", 1000 + i % 5, 80, payload=struct.pack("!H", i)),
        )
        for i in range(70)
    ]
    _, lan = rig.exchange(0, *frames)
    assert [struct.unpack("!H", raw[-2:])[0] for raw in lan] == list(range(70))
    assert rig.applier.connections() == 35
    no_other(rig)
