"""Fragments between the families: NAT64 (RFC 7915) and tunnels; against scapy, byte by byte."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether

from tests import fragments, oracle
from tests.audit import audit
from tests.fragments6 import cut6, joined6
from tests.rig import Rig
from tests.topology import VIP, dest, service
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    VIP6,
    dest6,
    frame6,
    network6,
    service6,
)
from tests.topology64 import answer, as_ipv4, as_ipv6, encapsulated

CLIENT = (CLIENT6, 1000)
CLIENT4 = "203.0.113.7"
_idents = itertools.count(0x10001)


def content(size):
    return bytes(i * 7 + (i >> 8) & 255 for i in range(size))


def new_rig(proto="udp"):
    rig = network6(Rig(), ipv4=True)
    service6(rig, [dest(0)], proto=proto, laddrs=[1, 0])
    return rig


@functools.cache
def shared(proto):
    return new_rig(proto)


def from_client(proto, size=0, headers=(), **ip):
    layer = oracle.segment(proto, CLIENT[1], 80, "S", content(size))
    for header in headers:
        layer = header / layer
    return frame6(FROM_CLIENT, (CLIENT6, VIP6), layer, **ip)


def opened(rig, proto):
    return rig.exchange(0, from_client(proto))[1][0]


def fragmented(wanted, ident):
    """The IPv4 frame as it is put together from fragments of that identification: no DF."""
    frame = Ether(wanted)
    frame[IP].id, frame[IP].flags = ident & 0xFFFF, 0
    del frame[IP].chksum
    return bytes(frame)


@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp"])
@settings(max_examples=25)
@given(data=st.data())
def test_rfc7915_5_1_1_fragments_to_the_server(proto, data):
    """Offsets, identification (its low half) and more-fragments as they came, DF not set."""
    rig = shared(proto)
    size = data.draw(st.integers(40, 6000) | st.integers(40, 200))
    before = data.draw(st.sampled_from([(), (IPv6ExtHdrDestOpt(),)]))
    frame = from_client(proto, size, before, tc=data.draw(st.integers(0, 255)))
    at = data.draw(st.sets(st.integers(4, size // 8), min_size=1, max_size=9))
    at |= set(range(170, size // 8, 170))
    ident = data.draw(st.integers(0, 0xFFFFFFFF))
    drops = rig.drops()
    rig.push(0, *data.draw(st.permutations(cut6(frame, at, ident, len(before)))))
    wan, lan = rig.run(2)
    assert wan == [] and len(lan) == len(at) + 1
    whole = fragments.joined(lan)
    assert whole == fragmented(as_ipv4(frame, whole), ident)
    assert rig.drops() == drops and rig.in_flight() == 0


@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp"])
@settings(max_examples=25)
@given(data=st.data())
def test_rfc7915_4_1_fragments_to_the_client(proto, data):
    """Every one fits the least IPv6 MTU; IPv4 options are left behind in each."""
    rig = shared(proto)
    out = opened(rig, proto)
    size, tos = data.draw(st.integers(40, 6000)), data.draw(st.integers(0, 255))
    ident = data.draw(st.integers(0, 65535))
    options = data.draw(st.sampled_from([[], [b"\x94\x04\x00\x00"]]))
    reply = answer(out, proto, content(size), tos=tos, id=ident, options=options)
    plain = answer(out, proto, content(size), tos=tos)
    at = data.draw(st.sets(st.integers(3, size // 8), min_size=1, max_size=9))
    at |= set(range(180, size // 8, 180))
    drops = rig.drops()
    rig.push(1, *data.draw(st.permutations(fragments.cut(reply, at))))
    wan, lan = rig.run(2)
    assert lan == [] and len(wan) >= len(at) + 1 and max(map(len, wan)) <= 14 + 1280
    assert joined6(wan, ident) == as_ipv6(plain, CLIENT)
    assert rig.drops() == drops and rig.in_flight() == 0


@pytest.mark.parametrize("size", [1224, 1225, 1300, 1472])
def test_rfc7915_4_what_may_be_fragmented_fits_every_ipv6_link(size):
    """Nobody would tell an IPv4 host that clears DF of a smaller link."""
    rig = new_rig()
    out = opened(rig, "udp")
    reply = answer(out, "udp", content(size), id=77)
    wan, _ = rig.exchange(1, reply)
    if size + 48 <= 1280:
        assert wan == [as_ipv6(reply, CLIENT)]
    else:
        assert [len(raw) - 14 for raw in wan] == [1280, size + 8 - 1232 + 48]
        assert joined6(wan, 77) == as_ipv6(reply, CLIENT)
    assert rig.drops() == {}


def test_rfc7915_4_with_df_fragments_are_not_cut_up_further():
    rig = new_rig()
    out = opened(rig, "udp")
    reply = answer(out, "udp", content(2900), id=78, flags="DF")
    fits = fragments.cut(reply, [181, 300])
    wan, lan = rig.exchange(1, *fits)
    assert [len(raw) - 14 for raw in wan][:2] == [181 * 8 + 48, 119 * 8 + 48] and lan == []
    assert joined6(wan, 78) == as_ipv6(reply, CLIENT)
    reply = answer(out, "udp", content(2900), id=79, flags="DF")
    large = fragments.cut(reply, [182, 300])
    wan, (error,) = rig.exchange(1, *large)
    assert wan == [] and Ether(error)[IP].payload.nexthopmtu == 1500 - 28
    assert rig.drops() == {"ip_too_big": 1, "frag_refused": 2}


def test_rfc7915_4_5_fragmented_udp_without_checksum_is_dropped():
    rig = new_rig()
    out = opened(rig, "udp")
    reply = answer(out, "udp", content(900), {"chksum": 0}, id=5)
    assert rig.exchange(1, *fragments.cut(reply, [40])) == [[], []]
    assert rig.drops() == {"frag_nat64": 1, "frag_refused": 1}


def test_rfc7915_5_1_1_headers_inside_of_what_is_fragmented():
    rig = new_rig()
    opened(rig, "udp")
    frame = from_client("udp", 300, (IPv6ExtHdrDestOpt(),))
    assert rig.exchange(0, *cut6(frame, [10], 9)) == [[], []]
    # A later one that says otherwise than the first.
    first, second = cut6(from_client("udp", 300), [10], 10)
    _, lan = rig.exchange(0, first, second[:54] + b"\x3c" + second[55:])
    assert len(lan) == 1
    assert rig.drops() == {"frag_nat64": 2, "frag_refused": 1}


@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp"])
def test_rfc6946_atomic_fragments_become_packets_that_may_be_fragmented(proto):
    rig = shared(proto)
    frame = from_client(proto, 1350)
    _, (out,) = rig.exchange(0, *cut6(frame, [], 0x12345678))
    assert out == fragmented(as_ipv4(frame, out), 0x5678)


def test_a_small_ipv4_link_behind_the_balancer():
    """Fragments, and packets that IPv6 hosts cannot make smaller, are cut up for it."""
    rig = new_rig()
    opened(rig, "udp")
    rig.apply("route.set", dst="198.19.0.0", plen=24, kind="link", dev=1, mtu=1000)
    frame = from_client("udp", 1212)  # 1260 bytes, 1240 without the larger header
    wan, lan = rig.exchange(0, frame)
    assert wan == [] and max(len(raw) for raw in lan) <= 1014 and len(lan) == 2
    whole = fragments.joined(lan)
    assert whole == as_ipv4(frame, whole)
    frame = from_client("udp", 2400)
    _, lan = rig.exchange(0, *cut6(frame, [170], 0x20002))
    assert len(lan) == 4
    whole = fragments.joined(lan)
    assert whole == fragmented(as_ipv4(frame, whole), 2)
    assert rig.drops() == {} and audit(rig.address) == []


def test_hop_limits_of_later_fragments():
    rig = new_rig()
    out = opened(rig, "udp")
    rig.apply("param.set", xmit_ttl=1)
    first, second = cut6(from_client("udp", 300, hlim=2), [10], 10)
    _, lan = rig.exchange(0, first, second)
    assert [Ether(raw)[IP].ttl for raw in lan] == [1, 1]
    first, second = cut6(from_client("udp", 300, hlim=2), [10], 11)
    (error,), lan = rig.exchange(0, first, second[:21] + b"\x01" + second[22:])
    assert len(lan) == 1 and error[54] == 3
    first, second = fragments.cut(answer(out, "udp", content(300), ttl=1, id=3), [10])
    wan, (error,) = rig.exchange(1, first, second)
    assert wan == [] and Ether(error)[IP].payload.type == 11
    assert rig.drops() == {"ip6_hops": 1, "ip_ttl": 1, "frag_refused": 1}


# Tunnels


@pytest.mark.parametrize("kind", ["6in6", "6in4", "4in6"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_rfc2473_7_each_fragment_goes_through_the_tunnel(kind, order):
    """The inner packet is a fragment; the outer header is that of any packet."""
    rig = network6(Rig(), ipv4=True)
    server = (dest if kind == "6in4" else dest6)(0, mode="tunnel", port=80)
    layer = oracle.segment("udp", 1000, 80, payload=content(900))
    if kind == "4in6":
        service(rig, [server], proto="udp", laddrs=[])
        raw = oracle.frame(FROM_CLIENT, (CLIENT4, VIP), layer, id=9)
        parts = fragments.cut(raw, [40, 80])
    else:
        service6(rig, [server], proto="udp", laddrs=[])
        parts = cut6(frame6(FROM_CLIENT, (CLIENT6, VIP6), layer), [40, 80], next(_idents))
    wan, lan = rig.exchange(0, *[parts[i] for i in order])
    assert wan == [] and len(lan) == 3
    sent = (0, 2, 1) if order[0] == 2 else order  # those before the first one wait for it
    wanted = zip(sent, lan, strict=True)
    assert lan == [encapsulated(kind, parts[i], raw) for i, raw in wanted]
    assert rig.drops() == {} and audit(rig.address) == []


@pytest.mark.parametrize("kind", ["6in6", "6in4"])
def test_fragments_too_big_for_the_tunnel(kind):
    rig = network6(Rig(), ipv4=True)
    server = (dest if kind == "6in4" else dest6)(0, mode="tunnel", port=80)
    service6(rig, [server], proto="udp", laddrs=[])
    small, large = cut6(from_client("udp", 1600), [20], 6)
    (error,), lan = rig.exchange(0, small, large)
    told = 1500 - (20 if kind == "6in4" else 40)
    assert len(lan) == 1 and Ether(error)[ICMPv6PacketTooBig].mtu == told
    assert rig.drops() == {"ip6_too_big": 1}
