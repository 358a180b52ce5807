"""NAT64: IPv6 clients and IPv4 real servers, every byte against scapy, RFC 7915 by clause."""

from __future__ import annotations

import functools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, TCP, IPerror
from scapy.layers.inet6 import ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether

from ipvs.entry import MODE_FULLNAT
from tests import oracle
from tests.audit import audit
from tests.rig import Rig
from tests.topology import LOCAL, dest
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    SERVERS6,
    VIP6,
    dest6,
    frame6,
    network6,
    service6,
)
from tests.topology64 import FROM_SERVER, SERVER, answer, as_ipv4, as_ipv6
from tools.daemon.listing import connections


def new_rig(proto="tcp", dests=None, **more):
    """IPv4 local address 0 and IPv6 local address 1."""
    rig = network6(Rig(**more), ipv4=True)
    service6(rig, dests or [dest(0)], proto=proto, laddrs=[1, 0])
    return rig


@functools.cache
def rig_of(proto):
    return new_rig(proto, capacity=8192)


BYTE = st.integers(0, 255)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@settings(max_examples=20)
@given(data=st.data())
def test_rfc7915_4_1_and_5_1_both_directions(proto, data):
    rig = rig_of(proto)
    client = (
        f"2001:db8:64::{data.draw(st.integers(1, 0xFFFF)):x}",
        data.draw(st.integers(1, 65535)),
    )
    sizes = st.binary(max_size=70) | st.sampled_from([1220, 1228, 1229, 1240, 1241, 1400]).map(
        bytes
    )
    hlim = data.draw(st.integers(1, 255))
    step = 1 if hlim > 1 and data.draw(st.booleans()) else 0
    rig.apply("param.set", xmit_ttl=step)
    before = rig.drops()
    layer = oracle.segment(proto, client[1], 80, "S", data.draw(sizes))
    label = data.draw(st.integers(0, (1 << 20) - 1))
    raw = frame6(FROM_CLIENT, (client[0], VIP6), layer, hlim=hlim, tc=data.draw(BYTE), fl=label)
    for _ in range(2):  # as a new and as a known connection
        wan, lan = rig.exchange(0, raw)
        assert wan == []
        assert lan == [as_ipv4(raw, lan[0], step)]
    back = data.draw(sizes)
    # Large ones without DF leave in fragments: test_fragments64.py.
    flags = "DF" if len(back) > 1220 else data.draw(st.sampled_from(["", "DF"]))
    reply = answer(lan[0], proto, back, ttl=hlim, tos=data.draw(BYTE), flags=flags)
    wan, lan = rig.exchange(1, reply)
    assert wan == [as_ipv6(reply, client, step)]
    assert lan == [] and rig.in_flight() == 0 and rig.drops() == before


def opened(rig, proto="tcp", sport=1000):
    """The frame a new connection sends to its server."""
    raw = frame6(FROM_CLIENT, (CLIENT6, VIP6), oracle.segment(proto, sport, 80, "S"))
    _, (out,) = rig.exchange(0, raw)
    return out


def test_rfc7915_4_5_udp_without_checksum_gets_one():
    """Odd and even lengths; the IPv6 packet would be dropped without."""
    rig = new_rig("udp")
    out = opened(rig, "udp")
    for payload in (b"", b"x", b"xyz", bytes(100)):
        reply = answer(out, "udp", payload, {"chksum": 0})
        wan, _ = rig.exchange(1, reply)
        assert wan == [as_ipv6(reply, (CLIENT6, 1000))]
        assert wan[0][60:62] != b"\0\0"


def test_rfc7915_4_1_ipv4_options_are_left_behind():
    rig = new_rig()
    out = opened(rig)
    sport = Ether(out)[TCP].sport
    layer = oracle.segment("tcp", 8080, sport, "SA", b"data")
    plain = oracle.frame(FROM_SERVER, (SERVER, LOCAL), layer)
    option = oracle.frame(FROM_SERVER, (SERVER, LOCAL), layer, options=b"\x01\x01\x01\x00")
    wan, _ = rig.exchange(1, option)
    assert wan == [as_ipv6(plain, (CLIENT6, 1000))]


def test_rfc7915_5_1_extension_headers_are_left_behind():
    rig = new_rig()
    layer = oracle.segment("tcp", 1000, 80, "S")
    raw = frame6(FROM_CLIENT, (CLIENT6, VIP6), IPv6ExtHdrDestOpt() / layer)
    _, lan = rig.exchange(0, raw)
    assert lan == [as_ipv4(raw, lan[0])]


def test_rfc7915_5_2_packet_too_big_counts_the_larger_header():
    """A packet that would not fit the IPv4 link is answered with that link's MTU plus 20."""
    rig = new_rig()
    rig.apply("route.set", dst="198.19.0.0", plen=24, kind="link", dev=1, mtu=1400)
    opened(rig)
    fits = frame6(FROM_CLIENT, (CLIENT6, VIP6), oracle.segment("tcp", 1000, 80, "A", bytes(1360)))
    assert len(fits) - 14 == 1420
    _, (out,) = rig.exchange(0, fits)
    assert len(out) - 14 == 1400
    large = frame6(FROM_CLIENT, (CLIENT6, VIP6), oracle.segment("tcp", 1000, 80, "A", bytes(1361)))
    (error,), lan = rig.exchange(0, large)
    assert lan == [] and rig.drops() == {"ip6_too_big": 1}
    assert Ether(error)[ICMPv6PacketTooBig].mtu == 1420
    # RFC 8200 section 5: never told to go below 1280.
    rig.apply("route.set", dst="198.19.0.0", plen=24, kind="link", dev=1, mtu=1000)
    (error,), _ = rig.exchange(0, large)
    assert Ether(error)[ICMPv6PacketTooBig].mtu == 1280


def test_rfc7915_4_2_server_is_told_the_mtu_less_20():
    rig = new_rig()
    out = opened(rig)
    rig.apply("route.set", dst="::", plen=0, kind="gateway", via="2001:db8:1::fe", dev=0, mtu=1300)
    wan, lan = rig.exchange(1, answer(out, "tcp", bytes(1240), flags="DF"))
    assert [len(raw) - 14 for raw in wan] == [1300] and lan == []
    wan, (error,) = rig.exchange(1, answer(out, "tcp", bytes(1241), flags="DF"))
    icmp = Ether(error)[ICMP]
    assert (icmp.type, icmp.code, icmp.nexthopmtu) == (3, 4, 1280)
    assert icmp[IPerror].src == SERVER
    assert wan == [] and rig.drops() == {"ip_too_big": 1}


def test_hop_limit_and_ttl_end_on_the_side_they_came_from():
    rig = new_rig()
    out = opened(rig)
    rig.apply("param.set", xmit_ttl=1)
    layer = oracle.segment("tcp", 1000, 80, "A")
    (error,), lan = rig.exchange(0, frame6(FROM_CLIENT, (CLIENT6, VIP6), layer, hlim=1))
    assert ICMPv6TimeExceeded in Ether(error) and lan == []
    wan, (error,) = rig.exchange(1, answer(out, "tcp", ttl=1))
    assert Ether(error)[ICMP].type == 11 and wan == []
    assert rig.drops() == {"ip6_hops": 1, "ip_ttl": 1}


def test_both_families_of_real_servers_in_one_service():
    """Round robin over both; each gets packets and a local address of its own family."""
    rig = new_rig(dests=[dest(0), dest6(1)])
    frames = [
        frame6(FROM_CLIENT, (CLIENT6, VIP6), oracle.segment("tcp", 1000 + i, 80)) for i in range(20)
    ]
    _, lan = rig.exchange(0, *frames)
    kinds = [Ether(raw).type for raw in lan]
    assert kinds == [0x0800, 0x86DD] * 10 or kinds == [0x86DD, 0x0800] * 10
    assert {Ether(raw)[IPv6].dst for raw in lan if Ether(raw).type == 0x86DD} == {SERVERS6[1]}
    assert audit(rig.address) == []
    rows = connections(rig.address, 0, 100, None)["conns"]
    ends = {(row["caddr"], row["vaddr"], row["laddr"], row["daddr"], row["mode"]) for row in rows}
    assert ends == {
        (CLIENT6, VIP6, LOCAL, SERVER, MODE_FULLNAT),
        (CLIENT6, VIP6, "2001:db8:2::200", SERVERS6[1], MODE_FULLNAT),
    }


def test_no_local_address_of_the_servers_family():
    rig = network6(Rig(), ipv4=True)
    service6(rig, [dest(0)], laddrs=[1])
    raw = frame6(FROM_CLIENT, (CLIENT6, VIP6), oracle.segment("tcp", 1000, 80))
    assert rig.exchange(0, raw) == [[], []]
    assert rig.drops() == {"no_laddr": 1} and audit(rig.address) == []


def test_ended_connections_are_found_by_neither_family():
    rig = new_rig()
    out = opened(rig)
    assert struct.unpack_from("!H", out, 34)[0] >= 1025
    for second in range(1, 12):
        rig.at(rig.stack.now + 1000 * second)
    assert rig.applier.connections() == 0 and audit(rig.address) == []
    assert rig.exchange(1, answer(out, "tcp")) == [[], []]
    assert rig.drops() == {"no_service": 1}
