"""A packet of a known connection: state, rewrite, statistics, next hop, transmit."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import ENTRY_SIZE, ONE_SIDED, SPECIAL, WIDE, Entry
from ipvs.special import forward_special
from ipvs.steps import admit, count, hear_from, mtu_towards, next_hop, rewrite, send
from ipvs.table import Table
from runtime.jit import compiled, inlined
from stack.drops import IP_TOO_BIG, IP_TTL
from stack.headers import ETHER_LEN, Ipv4
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.ipv4 import decrement_ttl


@inlined
def forward_at_once(ipvs, packet, reference, l4):
    """Forward a packet of the connection side ``reference``; ``l4`` is its TCP or UDP header.

    Returns 0 or a drop reason.  Nothing of the packet is changed before it is certain to go out,
    so an ICMP error quotes it as it came.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    e = Entry(entry)
    if e.flags & (SPECIAL | WIDE):
        return forward_special(ipvs, packet, reference, l4)
    side = reference & 1
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    proto = ip.proto
    reason = admit(ipvs, reference, entry, l4, proto)
    if reason != 0:
        return reason
    hop = next_hop(ipvs, entry, side)
    if hop < 0:
        return -hop
    total = ip.total
    mtu = mtu_towards(ipvs, entry, side, hop)
    if total > mtu:
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, mtu)
        return IP_TOO_BIG
    # DR leaves the IP header as it is.
    if w.xmit_ttl and e.flags & ONE_SIDED == 0:
        if ip.ttl <= 1:
            send_error(w.stack, k.mbuf, k.data, TIME_EXCEEDED, 0, 0)
            return IP_TTL
        decrement_ttl(l3)
    if side == 1:
        hear_from(w.stack, entry, k.data)
    count(ipvs, entry, side, total)
    rewrite(l3, l4, entry, side, proto)
    return send(ipvs, hop, k.mbuf, k.data)


@compiled
def forward_known(ipvs, packet, reference, l4):
    """``forward_at_once`` as a function of its own, for the places that are not the fast path."""
    return forward_at_once(ipvs, packet, reference, l4)
