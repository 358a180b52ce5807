"""The way of an IPv6 packet: local delivery and forwarding (RFC 8200).  Compiled.

The thorough path, like stack/ipv4.py.  Link-local addresses are never forwarded.
"""

from __future__ import annotations

from netdev.abi import Mbuf
from runtime.intrinsics import load8, load64
from runtime.jit import compiled
from stack.address6 import (
    ALL_NODES_LOW,
    MULTICAST_LINK_HIGH,
    SOLICITED_LOW,
    SOLICITED_MASK,
    is_link_local6,
    is_multicast6,
)
from stack.checksum import checksum6
from stack.context import Stack
from stack.drops6 import (
    ICMP6_CHECKSUM,
    ICMP6_SHORT,
    ICMP6_TYPE,
    IP6_FRAGMENT,
    IP6_GROUP,
    IP6_HOPS,
    IP6_LOOP,
    IP6_NO_NEXT,
    IP6_NO_ROUTE,
    IP6_NOT_FORWARDED,
    IP6_PROTOCOL,
    IP6_SCOPE,
    IP6_TOO_BIG,
    ND_ROUTER,
)
from stack.exthdr import FRAGMENT, NO_NEXT, UNKNOWN_HEADER, hop_by_hop, note_problem, walk
from stack.headers import (
    ETHER_LEN,
    IP6_DST,
    IP6_LEN,
    IP6_SRC,
    PROTO_ICMP6,
    PROTO_TCP,
    PROTO_UDP,
    Icmp,
    Ipv6,
)
from stack.icmp6 import (
    BEYOND_SCOPE,
    ECHO6,
    NO_ROUTE,
    REDIRECT,
    TIME_EXCEEDED6,
    TOO_BIG6,
    UNREACHABLE6,
    echo6,
    send_error6,
    tell_problem,
)
from stack.local6 import local6
from stack.mld_query import receive_mld
from stack.mld_send import DONE1, QUERY, REPORT1
from stack.nd import receive_nd
from stack.nd_send import ADVERTISEMENT, ND_HOPS, SOLICITATION
from stack.neigh import FORWARDED
from stack.output6 import output6, route_mtu6, send_via6
from stack.route6 import LOCAL, Route6, lookup6

ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134


@compiled
def forward6(stack, route, mbuf, data):
    """Forward a packet that is not for us; 0 or a drop reason."""
    if Stack(stack).forwarding6 == 0:
        return IP6_NOT_FORWARDED
    l3 = data + ETHER_LEN
    ip = Ipv6(l3)
    if is_link_local6(load64(l3 + IP6_SRC)):
        send_error6(stack, mbuf, data, UNREACHABLE6, BEYOND_SCOPE, 0)
        return IP6_SCOPE
    if ip.hops <= 1:
        send_error6(stack, mbuf, data, TIME_EXCEEDED6, 0, 0)
        return IP6_HOPS
    if route == 0:
        send_error6(stack, mbuf, data, UNREACHABLE6, NO_ROUTE, 0)
        return IP6_NO_ROUTE
    # Before the hop limit is lowered: the error quotes the packet as it came.
    mtu = route_mtu6(stack, route)
    if IP6_LEN + ip.payload > mtu:
        send_error6(stack, mbuf, data, TOO_BIG6, 0, mtu)
        return IP6_TOO_BIG
    ip.hops -= 1
    Mbuf(mbuf).packet_type = FORWARDED
    return send_via6(stack, route, load64(l3 + IP6_DST), load64(l3 + IP6_DST + 8), mbuf, data)


@compiled
def receive_icmp6(stack, mbuf, data, offset):
    """An ICMPv6 message to one of our addresses or groups; 0 or a drop reason."""
    l3 = data + ETHER_LEN
    size = IP6_LEN + Ipv6(l3).payload - offset
    if size < 8:
        return ICMP6_SHORT
    if checksum6(l3, l3 + offset, PROTO_ICMP6, size) != 0xFFFF:
        return ICMP6_CHECKSUM
    kind = Icmp(l3 + offset).type
    if kind == SOLICITATION or kind == ADVERTISEMENT:
        return receive_nd(stack, mbuf, data, offset)
    if kind == ROUTER_SOLICITATION or kind == ROUTER_ADVERTISEMENT or kind == REDIRECT:
        return ND_ROUTER
    if kind == QUERY or kind == REPORT1 or kind == DONE1:
        return receive_mld(stack, mbuf, data, offset)
    if kind != ECHO6 or load8(l3 + offset + 1) != 0:
        return ICMP6_TYPE
    reason = echo6(stack, mbuf, data, offset)
    if reason != 0:
        return reason
    return output6(stack, mbuf, data, Mbuf(mbuf).port)


@compiled
def deliver6(stack, mbuf, data):
    """A checked packet to one of our addresses: ICMPv6 is answered, the rest dropped by name."""
    l3 = data + ETHER_LEN
    found = walk(stack, l3, IP6_LEN + Ipv6(l3).payload)
    if found < 0:
        tell_problem(stack, mbuf, data)
        return -found
    kind = found & 0xFF
    if kind == PROTO_ICMP6:
        return receive_icmp6(stack, mbuf, data, found >> 8)
    if kind == FRAGMENT:
        return IP6_FRAGMENT
    if kind == NO_NEXT:
        return IP6_NO_NEXT
    if kind != PROTO_TCP and kind != PROTO_UDP:
        note_problem(stack, UNKNOWN_HEADER, Stack(stack).pointer6)
        tell_problem(stack, mbuf, data)
    return IP6_PROTOCOL


@compiled
def _joined(stack, port, high, low):
    """1 for the groups a host is in: all nodes, and the solicited-node groups of its addresses.

    Only neighbour discovery uses the latter, and it looks at the whole target.
    """
    if high != MULTICAST_LINK_HIGH:
        return 0
    if low == ALL_NODES_LOW:
        return 1
    return 1 if low & SOLICITED_MASK == SOLICITED_LOW else 0


@compiled
def _is_nd(l3):
    """1 for what may tell of another holder of our address: neighbour discovery notices it."""
    ip = Ipv6(l3)
    if ip.next != PROTO_ICMP6 or ip.payload < 24 or ip.hops != ND_HOPS:
        return 0
    kind = load8(l3 + IP6_LEN)
    return 1 if (kind == SOLICITATION or kind == ADVERTISEMENT) else 0


@compiled
def receive_ipv6(stack, mbuf, data):
    """Route a packet that passed check_ipv6 and that no virtual service wants."""
    s = Stack(stack)
    l3 = data + ETHER_LEN
    port = Mbuf(mbuf).port
    high = load64(l3 + IP6_SRC)
    own = port if is_link_local6(high) else -1
    if local6(stack, high, load64(l3 + IP6_SRC + 8), own) and _is_nd(l3) == 0:
        return IP6_LOOP
    reason = hop_by_hop(stack, l3, IP6_LEN + Ipv6(l3).payload)
    if reason != 0:
        tell_problem(stack, mbuf, data)
        return reason
    high = load64(l3 + IP6_DST)
    low = load64(l3 + IP6_DST + 8)
    if is_multicast6(high):
        return deliver6(stack, mbuf, data) if _joined(stack, port, high, low) else IP6_GROUP
    if is_link_local6(high):
        return deliver6(stack, mbuf, data) if local6(stack, high, low, port) else IP6_SCOPE
    route = lookup6(s.routes6, high, low)
    if route != 0 and Route6(route).kind == LOCAL:
        return deliver6(stack, mbuf, data)
    return forward6(stack, route, mbuf, data)
