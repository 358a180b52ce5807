"""NAT64: an IPv6 client's packet becomes IPv4 and goes to its real server; see ipvs/nat64.py."""

from __future__ import annotations

from ipvs.changes import CHANGED, content_of, from_client
from ipvs.context import Ipvs, Packet
from ipvs.drops import FRAG_NAT64
from ipvs.entry import Entry
from ipvs.header64 import GROWTH, IP4_LEN, may_split
from ipvs.room import l3_of
from ipvs.steps import count, mtu_towards, next_hop
from ipvs.to_ipv4 import NOT_FRAGMENTED, send_as_ipv4
from runtime.jit import compiled
from stack.drops6 import IP6_HOPS, IP6_TOO_BIG
from stack.exthdr import fragment_header
from stack.headers import ETHER_LEN, FRAGMENT_LEN, IP6_LEN, IP6_MIN_MTU, IP_DF, Fragment, Ipv6
from stack.icmp6 import TIME_EXCEEDED6, TOO_BIG6, send_error6
from stack.split import place4


@compiled
def _place_of(l3, at, proto):
    """IPv4's word and, from bit 16 on, identification of a fragment with content at ``at``.

    NOT_FRAGMENTED without a fragment header; a drop reason when it cannot be translated.  Headers
    behind it are part of what is fragmented: without them the others' offsets would be wrong.
    """
    fragment = fragment_header(l3, at)
    if fragment == 0:
        return NOT_FRAGMENTED
    f = Fragment(fragment)
    if fragment + FRAGMENT_LEN != at or f.next != proto:
        return -FRAG_NAT64
    return place4(f.place) | ((f.id & 0xFFFF) << 16)


@compiled
def forward_client64(ipvs, packet, entry, at, first):
    """A client's packet, content at ``at``, to its IPv4 real server; 0 or a drop reason.

    ``first``: the content begins with the ports.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    ip = Ipv6(l3)
    proto = (Entry(entry).side[1].ports >> 32) & 0xFF
    hop = next_hop(ipvs, entry, 0)
    if hop < 0:
        return -hop
    length = ip.payload + IP6_LEN - (at - l3)
    place = _place_of(l3, at, proto) if at != l3 + IP6_LEN else NOT_FRAGMENTED
    if place == -FRAG_NAT64:
        return FRAG_NAT64
    frag = place & 0xFFFF if place >= 0 else may_split(length)
    mtu = mtu_towards(ipvs, entry, 0, hop)
    if IP4_LEN + length > mtu and frag & IP_DF:
        told = max(mtu + GROWTH, IP6_MIN_MTU)
        send_error6(w.stack, k.mbuf, k.data, TOO_BIG6, 0, told)
        return IP6_TOO_BIG
    if w.xmit_ttl:
        if ip.hops <= 1:
            send_error6(w.stack, k.mbuf, k.data, TIME_EXCEEDED6, 0, 0)
            return IP6_HOPS
        ip.hops -= 1
    count(ipvs, entry, 0, ip.payload + IP6_LEN)
    if first == 0:
        return send_as_ipv4(ipvs, packet, entry, hop, at, 0, place)
    l4 = at
    if Entry(entry).special & CHANGED:
        l4 = from_client(ipvs, packet, entry, hop, at, mtu + GROWTH, proto)
        if l4 < 0:
            return -l4
    return send_as_ipv4(ipvs, packet, entry, hop, content_of(l3_of(packet), l4), l4, place)
