"""Tunnels with IPv6 inside or outside: every byte against scapy (RFC 2473, RFC 4213)."""

from __future__ import annotations

import functools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests import oracle
from tests.audit import audit
from tests.rig import Rig
from tests.topology import SERVER_MACS, SERVERS, VIP, dest, service
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    SERVERS6,
    VIP6,
    dest6,
    frame6,
    network6,
    service6,
    to_server,
)
from tools.daemon.listing import connections

KINDS = ("6in6", "6in4", "4in6")
CLIENT4 = "203.0.113.7"
SIZES = {"6in6": 40, "6in4": 20, "4in6": 40}


@functools.cache
def rig_of(kind):
    rig = network6(Rig(), ipv4=True)
    server = (dest if kind == "6in4" else dest6)(0, mode="tunnel", port=80)
    if kind == "4in6":
        service(rig, [server], proto="udp", laddrs=[])
    else:
        service6(rig, [server], proto="udp", laddrs=[])
    return rig


def client_frame(kind, sport, payload, hops=64, traffic=0, label=0):
    layer = oracle.segment("udp", sport, 80, payload=payload)
    if kind == "4in6":
        return oracle.frame(FROM_CLIENT, (CLIENT4, VIP), layer, ttl=hops, tos=traffic)
    return frame6(FROM_CLIENT, (CLIENT6, VIP6), layer, hlim=hops, tc=traffic, fl=label)


def encapsulated(kind, raw, out):
    """The frame that must leave; the id of an outer IPv4 header is taken as sent."""
    inner = raw[14:]
    if kind == "4in6":
        outer = IPv6(src="2001:db8:2::1", dst=SERVERS6[0], tc=inner[1], hlim=inner[8], nh=4)
    else:
        six = IPv6(inner)
        traffic = {"tc": six.tc, "fl": six.fl, "hlim": six.hlim}
        outer = IPv6(src="2001:db8:2::1", dst=SERVERS6[0], nh=41, **traffic)
        if kind == "6in4":
            outer = IP(
                src="198.19.0.1", dst=SERVERS[0], proto=41, tos=six.tc, ttl=six.hlim,
                id=struct.unpack_from(">H", out, 18)[0], flags="DF" if len(inner) > 1240 else "",
            )  # fmt: skip
    macs = to_server()
    return bytes(Ether(src=macs[0], dst=macs[1]) / outer / Raw(inner))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(
    payload=st.binary(max_size=40) | st.integers(0, 1400).map(bytes), sport=st.integers(1, 65535),
    hops=st.integers(1, 255), traffic=st.integers(0, 255), label=st.integers(0, 0xFFFFF),
)  # fmt: skip
def test_rfc2473_3_outer_header_and_untouched_inner_packet(
    kind, payload, sport, hops, traffic, label
):
    rig = rig_of(kind)
    raw = client_frame(kind, sport, payload, hops, traffic, label)
    for _ in range(2):  # as a new and as a known connection
        wan, lan = rig.exchange(0, raw)
        assert wan == [] and lan == [encapsulated(kind, raw, lan[0])], rig.drops()
    assert rig.in_flight() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_rfc2473_7_1_packets_too_big_for_the_tunnel(kind):
    """The sender is told what is left beside the outer header."""
    rig = rig_of(kind)
    before = rig.drops()
    room = 1500 - SIZES[kind]
    headers = 28 if kind == "4in6" else 48
    _, lan = rig.exchange(0, client_frame(kind, 4000, bytes(room - headers)))
    assert [len(raw) - 14 for raw in lan] == [1500]
    (error,), lan = rig.exchange(0, client_frame(kind, 4000, bytes(room - headers + 1)))
    told = Ether(error)[ICMP].nexthopmtu if kind == "4in6" else Ether(error)[ICMPv6PacketTooBig].mtu
    assert told == room and lan == []
    reason = "ip_too_big" if kind == "4in6" else "ip6_too_big"
    assert rig.drops() == {**before, reason: before.get(reason, 0) + 1}


@pytest.mark.parametrize("kind", KINDS)
def test_one_sided_connections_are_listed_and_end(kind):
    rig = network6(Rig(), ipv4=True)
    server = (dest if kind == "6in4" else dest6)(0, mode="tunnel", port=80)
    if kind == "4in6":
        service(rig, [server], laddrs=[])
        raw = oracle.frame(FROM_CLIENT, (CLIENT4, VIP), oracle.segment("tcp", 1000, 80, "S"))
    else:
        service6(rig, [server], laddrs=[])
        raw = frame6(FROM_CLIENT, (CLIENT6, VIP6), oracle.segment("tcp", 1000, 80, "S"))
    _, (out,) = rig.exchange(0, raw)
    assert Ether(out).dst == SERVER_MACS[0] and TCP in Ether(out) and UDP not in Ether(out)
    (row,) = connections(rig.address, 0, 10, None)["conns"]
    client = CLIENT4 if kind == "4in6" else CLIENT6
    assert (row["caddr"], row["daddr"]) == (client, SERVERS[0] if kind == "6in4" else SERVERS6[0])
    assert audit(rig.address) == []
    for second in range(40):
        rig.at(rig.stack.now + 1000 * second)
    assert rig.applier.connections() == 0 and audit(rig.address) == []
