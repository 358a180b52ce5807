"""Tunnels with IPv6 inside or outside: every byte against scapy (RFC 2473, RFC 4213)."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig
from scapy.layers.l2 import Ether

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
)
from tests.topology64 import encapsulated
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


def client_frame(kind, sport, payload, hops=64, traffic=0, label=0, flags=0):
    layer = oracle.segment("udp", sport, 80, payload=payload)
    if kind == "4in6":
        return oracle.frame(FROM_CLIENT, (CLIENT4, VIP), layer, ttl=hops, tos=traffic, flags=flags)
    return frame6(FROM_CLIENT, (CLIENT6, VIP6), layer, hlim=hops, tc=traffic, fl=label)


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
    """The sender is told what is left beside the outer header.

    An IPv4 one that allows fragments is not: tests/ipvs/test_tunnel_split.py.
    """
    rig = rig_of(kind)
    before = rig.drops()
    room = 1500 - SIZES[kind]
    headers = 28 if kind == "4in6" else 48
    _, lan = rig.exchange(0, client_frame(kind, 4000, bytes(room - headers), flags="DF"))
    assert [len(raw) - 14 for raw in lan] == [1500]
    larger = client_frame(kind, 4000, bytes(room - headers + 1), flags="DF")
    (error,), lan = rig.exchange(0, larger)
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
