"""IP headers written anew where the family changes (RFC 7915)."""

from __future__ import annotations

from runtime.intrinsics import store16, store64
from runtime.jit import compiled
from stack.checksum import ipv4_header_sum
from stack.context import Stack
from stack.headers import FRAGMENT_LEN, IP6_LEN, IP_DF, Fragment, Ipv4, Ipv6
from stack.split import place6

IP4_LEN = 20
GROWTH = IP6_LEN - IP4_LEN  # what an IPv4 packet becomes longer
MAY_SPLIT = 1260  # RFC 7915 5.1: packets up to here may be fragmented on the IPv4 side
PROTO_FRAGMENT = 44


@compiled
def write_header4(l3, traffic_class, hops, proto, length, addresses, ident, frag):
    """An IPv4 header for ``length`` bytes of payload; ``addresses`` raw, ``frag`` the flags and
    offset."""
    ip = Ipv4(l3)
    ip.ver_ihl = 0x45
    ip.tos = traffic_class
    ip.total = IP4_LEN + length
    ip.id = ident
    ip.frag = frag
    ip.ttl = hops
    ip.proto = proto
    ip.check = 0
    store64(l3 + 12, addresses)
    store16(l3 + 10, ipv4_header_sum(l3) ^ 0xFFFF)
    return 0


@compiled
def may_split(length):
    """IPv4's flags of a packet that was none: small ones may be fragmented, no one is told."""
    return IP_DF if IP4_LEN + length > MAY_SPLIT else 0


@compiled
def write_ipv4(stack, l3, traffic_class, hops, proto, length, addresses):
    """``write_header4`` for a packet that was not fragmented (RFC 7915 5.1)."""
    s = Stack(stack)
    s.ip_id = (s.ip_id + 1) & 0xFFFF
    frag = may_split(length)
    return write_header4(l3, traffic_class, hops, proto, length, addresses, s.ip_id, frag)


@compiled
def write_header6(l3, traffic_class, hops, proto, length):
    """An IPv6 header without addresses for ``length`` bytes of payload."""
    ip = Ipv6(l3)
    ip.flow = (6 << 28) | (traffic_class << 20)
    ip.payload = length
    ip.next = proto
    ip.hops = hops
    return 0


@compiled
def write_fragment6(l3, traffic_class, hops, proto, length, ident, frag):
    """The same for a fragment, whose place is told in IPv4's form (RFC 7915 4.1); no addresses."""
    write_header6(l3, traffic_class, hops, PROTO_FRAGMENT, FRAGMENT_LEN + length)
    f = Fragment(l3 + IP6_LEN)
    f.next = proto
    f.reserved = 0
    f.place = place6(frag)
    f.id = ident
    return 0
