"""Packets too large for a tunnel whose senders no error helps: the outer packet is fragmented.

IPv4 senders that allow fragments (RFC 2003 5.1, RFC 2473 7.2 b) do no path MTU discovery, and IPv6
ones need not believe that a link takes less than 1280 bytes (RFC 2473 7.1 b, RFC 4213 3.2).
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

from tests import fragments, oracle
from tests.audit import audit
from tests.fragments6 import cut6, joined6
from tests.ipvs.test_tunnel import encapsulated as in_ipv4
from tests.ipvs.test_tunnel import packet_of
from tests.rig import Rig
from tests.topology import SERVERS, VIP, dest, service
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

KINDS = ("4in4", "6in6", "6in4", "4in6")
CLIENT4, ROUTER4 = "203.0.113.7", "198.51.100.9"
LAN_ADDR = "198.19.0.1"


def rig_of(kind, mtu=0):
    rig = network6(Rig(), ipv4=True)
    server = (dest if kind[-1] == "4" else dest6)(0, mode="tunnel", port=80)
    if kind[0] == "4":
        service(rig, [server], proto="udp", laddrs=[])
    else:
        service6(rig, [server], proto="udp", laddrs=[])
    if mtu:
        address, plen = (SERVERS[0], 32) if kind[-1] == "4" else (SERVERS6[0], 128)
        source = LAN_ADDR if kind[-1] == "4" else "2001:db8:2::1"
        rig.apply("route.set", dst=address, plen=plen, kind="link", dev=1, src=source, mtu=mtu)
    return rig


def datagram(kind, size, sport=4000, **ip):
    """A client's datagram, its IP packet of ``size`` bytes."""
    payload = bytes(i % 251 for i in range(size - (28 if kind[0] == "4" else 48)))
    layer = oracle.segment("udp", sport, 80, payload=payload)
    if kind[0] == "4":
        return oracle.frame(FROM_CLIENT, (CLIENT4, VIP), layer, **{"flags": 0, "id": 9, **ip})
    return frame6(FROM_CLIENT, (CLIENT6, VIP6), layer, **ip)


def whole(kind, raw, out):
    """What must leave, put together again; asserts that it left in fragments that fit."""
    assert len(out) > 1
    if kind == "4in4":
        got = fragments.joined(out)
        wanted = in_ipv4(packet_of(raw), got, LAN_ADDR, SERVERS[0], Ether(out[0]).dst)
    elif kind == "6in4":
        got = fragments.joined(out)
        ip = IP(encapsulated(kind, raw, got)[14:])
        ip.flags, ip.chksum = 0, None
        wanted = got[:14] + bytes(ip)
    else:
        got = joined6(out)
        wanted = encapsulated(kind, raw, got)
    assert Ether(got).dst == Ether(wanted).dst and got == wanted
    return True


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(("4in4", "4in6")), size=st.integers(1481, 1500), tos=st.integers(0, 255),
    ttl=st.integers(1, 255),
)  # fmt: skip
def test_rfc2003_5_1_rfc2473_7_2_b_an_ipv4_sender_that_allows_it(kind, size, tos, ttl):
    rig = rig_of(kind)
    raw = datagram(kind, size, tos=tos, ttl=ttl)
    for _ in range(2):  # as a new and as a known connection
        wan, lan = rig.exchange(0, raw)
        assert wan == [] and len(lan[0]) > 1494
        assert max(len(out) for out in lan) <= 1514 and whole(kind, raw, lan)
    assert rig.drops() == {} and rig.in_flight() == 0 and audit(rig.address) == []


@pytest.mark.parametrize("kind", ["4in4", "4in6"])
def test_one_that_does_not_is_told_the_mtu(kind):
    rig = rig_of(kind)
    (error,), lan = rig.exchange(0, datagram(kind, 1481, flags="DF"))
    assert lan == [] and Ether(error)[ICMP].nexthopmtu == (1480 if kind == "4in4" else 1460)
    assert rig.drops() == {"ip_too_big": 1}


@pytest.mark.parametrize("kind", ["6in6", "6in4"])
@pytest.mark.parametrize("size", [1261, 1279, 1280])
def test_rfc2473_7_1_b_rfc4213_3_2_what_every_link_must_take(kind, size):
    """The outer IPv4 header allows fragments, too."""
    rig = rig_of(kind, mtu=1280)
    raw = datagram(kind, size)
    wan, lan = rig.exchange(0, raw)
    assert wan == [] and whole(kind, raw, lan) and max(len(out) for out in lan) <= 1294
    _, lan = rig.exchange(0, datagram(kind, 1281))
    assert lan == [] and rig.drops() == {"ip6_too_big": 1}
    # What fits goes out whole.
    wan, lan = rig.exchange(0, datagram(kind, 1280 - (40 if kind == "6in6" else 20)))
    assert wan == [] and len(lan) == 1 and len(lan[0]) == 1294


@pytest.mark.parametrize("kind", ["4in4", "4in6"])
def test_fragments_of_the_client_are_fragmented_once_more(kind):
    rig = rig_of(kind)
    parts = fragments.cut(datagram(kind, 3000), [184])
    wan, lan = rig.exchange(0, *parts)
    assert wan == [] and len(lan) == 4
    assert whole(kind, parts[0], lan[:2]) and whole(kind, parts[1], lan[2:])
    assert rig.drops() == {} and rig.in_flight() == 0


@pytest.mark.parametrize("kind", ["6in6", "6in4"])
def test_fragments_of_an_ipv6_client_too(kind):
    rig = rig_of(kind, mtu=1280)
    parts = cut6(datagram(kind, 2000), [154], 6)
    assert len(parts[0]) == 14 + 1280
    wan, lan = rig.exchange(0, *parts)
    assert wan == [] and len(lan) == 3 and whole(kind, parts[0], lan[:2])
    assert rig.drops() == {} and rig.in_flight() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_outer_identifications_differ(kind):
    rig = rig_of(kind, mtu=1280)
    size = 1400 if kind[0] == "4" else 1280
    seen = set()
    for sport in range(20):
        _, lan = rig.exchange(0, datagram(kind, size, 2000 + sport))
        seen.add(lan[0][18:20] if kind[-1] == "4" else lan[0][58:62])
    assert len(seen) == 20


def test_without_buffers_the_packet_is_counted():
    rig = rig_of("4in4")
    rig.exchange(0, datagram("4in4", 100))
    held = [rig.pool.free.popleft() for _ in range(len(rig.pool.free) - 1)]
    assert rig.exchange(0, datagram("4in4", 1500)) == [[], []]
    assert rig.drops() == {"split_mbuf": 1}
    rig.pool.free.extend(held)
    assert rig.in_flight() == 0


def test_an_error_about_the_servers_answer_goes_through_in_fragments():
    """RFC 1812 4.3.2.3 lets routers send errors of 576 bytes: more than the smallest tunnels."""
    rig = rig_of("4in4", mtu=580)
    rig.exchange(0, datagram("4in4", 100))
    quoted = IP(src=VIP, dst=CLIENT4) / oracle.segment("udp", 80, 4000, payload=bytes(520))
    head = IP(src=ROUTER4, dst=VIP, ttl=60, id=7) / ICMP(type=3, code=1)
    raw = bytes(Ether(src=FROM_CLIENT[0], dst=FROM_CLIENT[1]) / head / bytes(quoted))
    wan, lan = rig.exchange(0, raw)
    assert wan == [] and whole("4in4", raw, lan)
