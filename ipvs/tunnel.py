"""Tunnel mode, IPv4 in IPv4 (RFC 2003): the packet goes whole to the real server, inside another.

Like DR it is one-sided: the server decapsulates, owns the virtual address and answers the client
itself.  The entry's side 1 holds the outer header's addresses (as a reply to it would carry them).
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import ENTRY_SIZE, Entry, swap_halves
from ipvs.steps import admit, count, mtu_towards, next_hop, send
from ipvs.table import Table
from netdev.abi import Mbuf
from netdev.mbuf import set_length
from runtime.intrinsics import store16, store64
from runtime.jit import compiled, inlined
from stack.checksum import ipv4_header_sum
from stack.context import Stack
from stack.drops import IP_TOO_BIG, IP_TTL
from stack.headers import ETHER_LEN, IP_DF, IP_MIN_MTU, PROTO_IPIP, Ipv4
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.ipv4 import decrement_ttl
from stack.split import send_split

OUTER = 20  # bytes of the outer header


@inlined
def _encapsulate(stack, l3, outer, addresses):
    """Write the outer header at ``outer`` in front of the packet at ``l3`` (RFC 2003 3.1).

    TOS (with it ECN, RFC 6040 normal mode), DF and TTL are the inner packet's.
    """
    s = Stack(stack)
    inner = Ipv4(l3)
    ip = Ipv4(outer)
    s.ip_id = (s.ip_id + 1) & 0xFFFF
    total = inner.total + OUTER
    frag = inner.frag & IP_DF
    ip.ver_ihl = 0x45
    ip.tos = inner.tos
    ip.total = total
    ip.id = s.ip_id
    ip.frag = frag
    ip.ttl = inner.ttl
    ip.proto = PROTO_IPIP
    ip.check = 0
    store64(outer + 12, swap_halves(addresses))
    store16(outer + 10, ipv4_header_sum(outer) ^ 0xFFFF)
    return 0


@compiled
def send_in_tunnel(ipvs, packet, entry, hop, total, room):
    """Put an outer header before a packet of ``total`` bytes and send it; 0 or a drop reason.

    One of more than ``room`` bytes, which its sender allows to be fragmented, goes out in fragments
    of the outer packet (RFC 2003 5.1): the tunnel's end gets whole what came whole.
    """
    k = Packet(packet)
    stack = Ipvs(ipvs).stack
    l3 = k.data + ETHER_LEN
    m = Mbuf(k.mbuf)
    m.data_off -= OUTER
    set_length(k.mbuf, ETHER_LEN + OUTER + total)
    _encapsulate(stack, l3, l3 - OUTER, Entry(entry).side[1].addresses)
    if total > room:
        return send_split(stack, hop, k.mbuf, k.data - OUTER, room + OUTER)
    return send(ipvs, hop, k.mbuf, k.data - OUTER)


@compiled
def forward_tunnel(ipvs, packet, reference, l4):
    """Send a client's packet through the tunnel to its real server; 0 or a drop reason.

    The inner packet stays as it is; only where this host acts as a router (xmit_ttl) its TTL is
    lowered (RFC 2003 3.1).
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    reason = admit(ipvs, reference, entry, l4, ip.proto)
    if reason != 0:
        return reason
    hop = next_hop(ipvs, entry, 0)
    if hop < 0:
        return -hop
    total = ip.total
    mtu = mtu_towards(ipvs, entry, 0, hop) - OUTER
    if total > mtu and ip.frag & IP_DF:
        told = mtu if mtu > IP_MIN_MTU else IP_MIN_MTU
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, told)
        return IP_TOO_BIG
    if w.xmit_ttl:
        if ip.ttl <= 1:
            send_error(w.stack, k.mbuf, k.data, TIME_EXCEEDED, 0, 0)
            return IP_TTL
        decrement_ttl(l3)
    count(ipvs, entry, 0, total)
    return send_in_tunnel(ipvs, packet, entry, hop, total, mtu)
