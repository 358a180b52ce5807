"""A packet of a known connection: state, rewrite, statistics, next hop, transmit."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import ENTRY_SIZE, SPECIAL, WIDE, Entry
from ipvs.oversize import forward_oversize
from ipvs.special import forward_special
from ipvs.steps import admit, leave, mtu_towards, next_hop, rewrite, send
from ipvs.table import Table
from runtime.jit import compiled, inlined
from stack.headers import ETHER_LEN, Ipv4


@inlined
def forward_at_once(ipvs, packet, reference, l4):
    """Forward a packet of the connection side ``reference``; ``l4`` is its TCP or UDP header.

    Returns 0 or a drop reason.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    e = Entry(entry)
    if e.flags & (SPECIAL | WIDE):
        return forward_special(ipvs, packet, reference, l4)
    side = reference & 1
    l3 = k.data + ETHER_LEN
    proto = Ipv4(l3).proto
    reason = admit(ipvs, reference, entry, l4, proto)
    if reason != 0:
        return reason
    hop = next_hop(ipvs, entry, side)
    if hop < 0:
        return -hop
    mtu = mtu_towards(ipvs, entry, side, hop)
    if Ipv4(l3).total > mtu:
        return forward_oversize(ipvs, packet, reference, l4, hop, mtu)
    reason = leave(ipvs, packet, entry, side)
    if reason != 0:
        return reason
    rewrite(l3, l4, entry, side, proto)
    return send(ipvs, hop, k.mbuf, k.data)


@compiled
def forward_known(ipvs, packet, reference, l4):
    """``forward_at_once`` as a function of its own, for the places that are not the fast path."""
    return forward_at_once(ipvs, packet, reference, l4)
