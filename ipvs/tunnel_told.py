"""What the client is told about its packet when an error came back from inside of the tunnel.

An error of its own, from the virtual address: an unreachable host or address whatever is wrong in
there, or the bytes that the tunnel takes (RFC 2003 4, RFC 2473 8.2 and 8.3, RFC 4213 3.4).
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import TUNNEL_MTU
from ipvs.entry import swap_halves
from ipvs.header64 import IP4_LEN, write_header4
from ipvs.icmp64 import ERROR4_BYTES
from ipvs.to_ipv4 import move_front
from netdev.abi import Mbuf
from runtime.intrinsics import copy, load64, store16
from runtime.jit import compiled
from stack.address6 import is_link_local6
from stack.checksum import checksum
from stack.context import Stack
from stack.drops import ICMP_RATE
from stack.drops6 import IP6_SCOPE
from stack.headers import (
    ETHER_LEN,
    IP6_DST,
    IP6_LEN,
    IP6_MIN_MTU,
    IP6_SRC,
    IP_MIN_MTU,
    PROTO_ICMP,
    Icmp,
    Ipv4,
    Ipv6,
)
from stack.icmp import FRAG_NEEDED, HOST_UNREACHABLE, TTL, UNREACHABLE, rate_allows
from stack.icmp6 import ADDRESS_UNREACHABLE, TOO_BIG6, UNREACHABLE6, finish_icmp6
from stack.ipv4 import output
from stack.output6 import output6

CONTROL = 0xC0  # RFC 1812 4.3.2.5
BROKEN = 0  # instead of a number of bytes: packets do not get to the tunnel's end
MOST = 0xFFFF  # an IPv4 packet has no more bytes


@compiled
def tell4(ipvs, packet, inner, end, room):
    """Tell the sender of the IPv4 packet at ``inner``, quoting it up to ``end``.

    ``room``: bytes of its packets that the tunnel takes, or BROKEN.  Whatever the packet says about
    fragments: we make none of a tunnel's packets.  0 or a drop reason.
    """
    s = Stack(Ipvs(ipvs).stack)
    k = Packet(packet)
    if rate_allows(s.ptr) == 0:
        return ICMP_RATE
    icmp = inner - 8
    l3 = icmp - IP4_LEN
    end = min(min(end, inner + Ipv4(inner).total), l3 + ERROR4_BYTES)
    back = swap_halves(load64(inner + 12))
    move_front(packet, l3 - ETHER_LEN, end - l3 + ETHER_LEN)
    s.ip_id = (s.ip_id + 1) & 0xFFFF
    write_header4(l3, CONTROL, TTL, PROTO_ICMP, end - icmp, back, s.ip_id, 0)
    told = Icmp(icmp)
    told.type = UNREACHABLE
    told.code = HOST_UNREACHABLE if room == BROKEN else FRAG_NEEDED
    told.check = 0
    told.rest = BROKEN if room == BROKEN else min(max(room, IP_MIN_MTU), MOST)
    store16(icmp + 2, checksum(icmp, end - icmp))
    return output(s.ptr, k.mbuf, k.data)


@compiled
def tell6(ipvs, packet, inner, end, room):
    """The same for an IPv6 packet.

    One that every link must take is not too big for its sender to send (RFC 2473 8.2, 7.1).
    """
    s = Stack(Ipvs(ipvs).stack)
    k = Packet(packet)
    total = IP6_LEN + Ipv6(inner).payload
    if room != BROKEN and total <= IP6_MIN_MTU:
        return TUNNEL_MTU
    if is_link_local6(load64(inner + IP6_SRC)):
        return IP6_SCOPE
    if rate_allows(s.ptr) == 0:
        return ICMP_RATE
    icmp = inner - 8
    l3 = icmp - IP6_LEN
    end = min(min(end, inner + total), l3 + IP6_MIN_MTU)
    move_front(packet, l3 - ETHER_LEN, end - l3 + ETHER_LEN)
    copy(l3 + IP6_SRC, inner + IP6_DST, 16)
    copy(l3 + IP6_DST, inner + IP6_SRC, 16)
    Ipv6(l3).payload = end - icmp
    told = Icmp(icmp)
    told.type = UNREACHABLE6 if room == BROKEN else TOO_BIG6
    told.code = ADDRESS_UNREACHABLE if room == BROKEN else 0
    told.rest = BROKEN if room == BROKEN else max(room, IP6_MIN_MTU)
    finish_icmp6(l3)
    return output6(s.ptr, k.mbuf, k.data, Mbuf(k.mbuf).port)
