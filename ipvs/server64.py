"""NAT64: an IPv4 real server's packet becomes IPv6 and goes to its client; see ipvs/nat64.py."""

from __future__ import annotations

from ipvs.changes import CHANGED, from_server
from ipvs.context import Ipvs, Packet
from ipvs.drops import FRAG_NAT64
from ipvs.entry import Entry
from ipvs.header64 import IP4_LEN, write_fragment6, write_header6
from ipvs.rewrite6 import write_addresses6
from ipvs.steps import count, hear_from, mtu_towards, next_hop, send
from ipvs.to_ipv4 import move_front, rewrite_upper
from runtime.intrinsics import load16, load64, store16
from runtime.jit import compiled
from stack.checksum import fold, pseudo_sum, sum_bytes
from stack.drops import IP_TOO_BIG, IP_TTL
from stack.headers import (
    ETHER_LEN,
    FRAGMENT_LEN,
    IP6_LEN,
    IP6_MIN_MTU,
    IP_DF,
    IP_MF,
    IP_OFFSET,
    PROTO_UDP,
    Ipv4,
    Udp,
)
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.split import send_split


@compiled
def _give_checksum(l3, l4):
    """RFC 7915 4.5: a UDP packet without checksum gets one before it becomes IPv6.

    Of a fragmented one not all bytes are here.  0 or a drop reason.
    """
    if Ipv4(l3).frag & IP_MF:
        return FRAG_NAT64
    length = Udp(l4).length
    total = pseudo_sum(load64(l3 + 12), PROTO_UDP, length) + sum_bytes(l4, length)
    check = fold(total) ^ 0xFFFF
    store16(l4 + 6, check if check != 0 else 0xFFFF)
    return 0


@compiled
def forward_server64(ipvs, packet, entry, at, first):
    """A real server's packet, content at ``at``, to its IPv6 client; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    proto = ip.proto
    hop = next_hop(ipvs, entry, 1)
    if hop < 0:
        return -hop
    length = ip.total - (at - l3)
    frag = ip.frag
    mtu = mtu_towards(ipvs, entry, 1, hop)
    if frag & IP_DF == 0:
        mtu = min(mtu, IP6_MIN_MTU)
    head = IP6_LEN
    if frag & (IP_MF | IP_OFFSET) or (frag & IP_DF == 0 and head + length > mtu):
        head += FRAGMENT_LEN
    if head + length > mtu and frag & IP_DF:
        told = mtu - (head - IP4_LEN)
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, told)
        return IP_TOO_BIG
    hops = ip.ttl
    if w.xmit_ttl:
        if hops <= 1:
            send_error(w.stack, k.mbuf, k.data, TIME_EXCEEDED, 0, 0)
            return IP_TTL
        hops -= 1
    if first and proto == PROTO_UDP and load16(at + 6) == 0:
        reason = _give_checksum(l3, at)
        if reason != 0:
            return reason
    if first and Entry(entry).special & CHANGED:
        from_server(entry, l3, at, proto)
    hear_from(w.stack, entry, k.data)
    count(ipvs, entry, 1, ip.total)
    tos = ip.tos
    ident = ip.id
    new = at - head
    move_front(packet, new - ETHER_LEN, ETHER_LEN + head + length)
    if head == IP6_LEN:
        write_header6(new, tos, hops, proto, length)
    else:
        write_fragment6(new, tos, hops, proto, length, ident, frag)
    write_addresses6(new, entry, 1)
    if first:
        rewrite_upper(ipvs, at, entry, 1, proto)
    if head + length > mtu:
        return send_split(w.stack, hop, k.mbuf, k.data, mtu)
    return send(ipvs, hop, k.mbuf, k.data)
