"""IPv6 FullNAT, NAT and DR: every byte in both directions against the slow oracle."""

from __future__ import annotations

import functools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP
from scapy.layers.inet6 import (
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import Ether

from ipvs.table import entry_of
from ipvs.wide_entry import WIDE_AT
from runtime.intrinsics import load8, store8
from tests import oracle
from tests.audit import audit
from tests.rig import Rig
from tests.topology6 import (
    FROM_CLIENT,
    LOCAL6,
    SERVERS6,
    TO_CLIENT,
    VIP6,
    balancer6,
    dest6,
    frame6,
    from_server,
    network6,
    rewritten6,
    service6,
    to_server,
)

MODES = ("fullnat", "nat", "dr")
SERVER = SERVERS6[0]


made_rig = functools.cache(balancer6)


def rig_of(mode, proto="tcp"):
    """One balancer a mode and protocol; tests use clients of their own."""
    rig = made_rig(mode, proto, capacity=8192)
    rig.apply("param.set", xmit_ttl=0)
    return rig


def port_of(raw, which):
    return struct.unpack_from("!H", raw, 54 + 2 * which)[0]


def expected(raw, mode, client, out, step=0):
    """The frame the real server should get; the local port is the balancer's to choose."""
    if mode == "fullnat":
        return rewritten6(raw, to_server(), (LOCAL6, port_of(out, 0)), (SERVER, 8080), step)
    if mode == "nat":
        return rewritten6(raw, to_server(), client, (SERVER, 8080), step)
    return rewritten6(raw, to_server(), client, (VIP6, 80))  # DR leaves the IP header as it is


def answer_to(mode, client, out, proto="tcp", payload=b"", **ip):
    """The server's answer to what it got."""
    to = (LOCAL6, port_of(out, 0)) if mode == "fullnat" else client
    layer = oracle.segment(proto, 8080, to[1], "SA", payload)
    return frame6(from_server(), (SERVER, to[0]), layer, **ip)


CLIENTS = st.tuples(
    st.binary(min_size=14, max_size=14).map(
        lambda b: "2001:db8:" + ":".join(b[i : i + 2].hex() for i in range(0, 12, 2))
    ),
    st.integers(1, 65535),
)
PAYLOADS = st.binary(max_size=70) | st.integers(0, 1400).map(bytes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("proto", ["tcp", "udp"])
@settings(max_examples=15)
@given(data=st.data())
def test_both_directions(mode, proto, data):
    """RFC 8200 3: traffic class and flow label as they came; 8.1: checksums with pseudo header."""
    rig = rig_of(mode, proto)
    client, payload, back = data.draw(CLIENTS), data.draw(PAYLOADS), data.draw(PAYLOADS)
    ip = {
        "hlim": data.draw(st.integers(1, 255)),
        "tc": data.draw(st.integers(0, 255)),
        "fl": data.draw(st.integers(0, (1 << 20) - 1)),
    }
    step = 1 if ip["hlim"] > 1 and data.draw(st.booleans()) else 0
    rig.apply("param.set", xmit_ttl=step)
    before = rig.drops()
    layer = oracle.segment(proto, client[1], 80, "S", payload)
    raw = frame6(FROM_CLIENT, (client[0], VIP6), layer, **ip)
    for _ in range(2):  # as a new and as a known connection
        wan, lan = rig.exchange(0, raw)
        assert wan == []
        assert lan == [expected(raw, mode, client, lan[0], step)]
    if mode != "dr":
        answer = answer_to(mode, client, lan[0], proto, back, **ip)
        wan, lan = rig.exchange(1, answer)
        assert wan == [rewritten6(answer, TO_CLIENT, (VIP6, 80), client, step)]
        assert lan == []
    assert rig.in_flight() == 0 and rig.drops() == before


def test_all_tables_agree_afterwards():
    for mode in MODES:
        assert audit(rig_of(mode).address) == []


def test_rfc8200_8_1_udp_checksum_zero_is_sent_as_all_ones():
    rig = rig_of("nat", "udp")
    client = ("2001:db8:5::1", 5001)
    probe = frame6(
        FROM_CLIENT, (client[0], VIP6), oracle.segment("udp", client[1], 80, payload=b"\0\0ab")
    )
    word = rewritten6(probe, to_server(), client, (SERVER, 8080))[60:62]
    raw = frame6(
        FROM_CLIENT, (client[0], VIP6), oracle.segment("udp", client[1], 80, payload=word + b"ab")
    )
    _, (out,) = rig.exchange(0, raw)
    assert out[60:62] == b"\xff\xff"
    assert out == rewritten6(raw, to_server(), client, (SERVER, 8080))


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_wrong_l4_checksum_stays_wrong(proto):
    """The balancer must not make a damaged payload look whole."""
    rig = rig_of("fullnat", proto)
    client = ("2001:db8:5::3", 5002)
    layer = oracle.segment(proto, client[1], 80, "S", b"payload")
    raw = bytearray(frame6(FROM_CLIENT, (client[0], VIP6), layer))
    raw[-1] ^= 1
    _, (out,) = rig.exchange(0, bytes(raw))
    ip = Ether(out)[IPv6]
    stored = ip.payload.chksum
    del ip.payload.chksum
    assert IPv6(bytes(ip)).payload.chksum != stored


def test_link_padding_is_cut_off():
    rig = rig_of("fullnat", "udp")
    client = ("2001:db8:5::4", 5003)
    layer = oracle.segment("udp", client[1], 80, payload=b"x")
    raw = frame6(FROM_CLIENT, (client[0], VIP6), layer)
    for _ in range(2):
        _, (out,) = rig.exchange(0, raw + bytes(9))
        assert out == expected(raw, "fullnat", client, out)


def test_rfc8200_hop_limit_expires_only_with_xmit_ttl():
    rig = balancer6("fullnat")
    rig.apply("param.set", xmit_ttl=1)
    layer = oracle.segment("tcp", 1000, 80)
    raw = frame6(FROM_CLIENT, ("2001:db8:5::5", VIP6), layer, hlim=1)
    (error,), lan = rig.exchange(0, raw)
    assert lan == [] and rig.drops() == {"ip6_hops": 1}
    icmp = Ether(error)[ICMPv6TimeExceeded]
    assert bytes(icmp.payload) == raw[14:], "quoted as it came"
    rig.apply("param.set", xmit_ttl=0)
    _, (out,) = rig.exchange(0, raw)
    assert Ether(out)[IPv6].hlim == 1


def test_rfc4443_3_2_packet_too_big_tells_the_mtu():
    rig = balancer6("fullnat")
    rig.apply("route.set", dst="2001:db8:2::", plen=64, kind="link", dev=1, mtu=1400)
    layer = oracle.segment("tcp", 1000, 80, payload=bytes(1341))
    raw = frame6(FROM_CLIENT, ("2001:db8:5::6", VIP6), layer)
    (error,), lan = rig.exchange(0, raw)
    assert lan == [] and rig.drops() == {"ip6_too_big": 1}
    assert Ether(error)[ICMPv6PacketTooBig].mtu == 1400
    _, (out,) = rig.exchange(0, raw[:18] + struct.pack("!H", 1360) + raw[20:-1])
    assert len(out) == 1414


def test_rfc8200_8_1_udp_without_checksum_is_dropped():
    rig = balancer6("fullnat", "udp")
    layer = oracle.segment("udp", 1000, 80, payload=b"x", chksum=0)
    assert rig.exchange(0, frame6(FROM_CLIENT, ("2001:db8:5::8", VIP6), layer)) == [[], []]
    assert rig.drops() == {"udp6_checksum": 1}


@pytest.mark.parametrize("mode", MODES)
def test_rfc8200_4_extension_headers_go_along(mode):
    """TCP behind harmless extension headers belongs to the same connection as without."""
    rig = balancer6(mode)
    client = ("2001:db8:5::9", 5004)
    layer = oracle.segment("tcp", client[1], 80, "S")
    for headers in (layer, IPv6ExtHdrDestOpt() / layer, IPv6ExtHdrHopByHop() / layer):
        raw = frame6(FROM_CLIENT, (client[0], VIP6), headers)
        _, (out,) = rig.exchange(0, raw)
        assert rig.applier.connections() == 1
        lport = Ether(out)[TCP].sport
        source = (LOCAL6, lport) if mode == "fullnat" else client
        target = (VIP6, 80) if mode == "dr" else (SERVER, 8080)
        assert out == rewritten6(raw, to_server(), source, target)


def test_a_digest_alone_opens_no_door():
    """Two address pairs with one digest: the second's packets are dropped, not sent to the
    first one's peer."""
    rig = balancer6("fullnat")
    raw = frame6(FROM_CLIENT, ("2001:db8:5::7", VIP6), oracle.segment("tcp", 1000, 80))
    rig.exchange(0, raw)
    at = entry_of(rig.w.table, 3) + WIDE_AT + 15
    store8(at, load8(at) ^ 1)
    assert rig.exchange(0, raw) == [[], []]
    assert rig.drops() == {"digest_clash": 1}


def test_connections_end_and_give_back_slots_and_ports():
    rig = network6(Rig(capacity=64))
    service6(rig, [dest6(i) for i in range(3)])
    service6(rig, [dest6(3)], id=1, port=81)
    frames = [
        frame6(FROM_CLIENT, (f"2001:db8:6::{i:x}", VIP6), oracle.segment("tcp", 1000, 80))
        for i in range(1, 36)
    ]
    _, lan = rig.exchange(0, *frames)
    # 64 slots: number 0 does not exist, so 31 pairs (and two single slots are left).
    assert len(lan) == 31 and rig.drops() == {"conn_full": 4}
    assert len({(raw[22:54], raw[54:58]) for raw in lan}) == 31, "no tuple twice"
    assert audit(rig.address) == []
    for number in range(31):
        rig.at(rig.stack.now + 1000 * number)
    assert rig.applier.connections() == 0
    assert audit(rig.address) == []
    _, lan = rig.exchange(0, frames[0])
    assert len(lan) == 1
