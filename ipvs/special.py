"""Known connections that need more than the rewrite of the fast path."""

from __future__ import annotations

from ipvs.changes import CHANGED, forward_changed
from ipvs.context import Ipvs
from ipvs.drops import NOT_FORWARDED
from ipvs.entry import (
    ENTRY_SIZE,
    S_NAT64,
    S_SCTP,
    S_SNAT,
    S_TUNNEL,
    WIDE,
    Entry,
)
from ipvs.nat64 import forward_nat64
from ipvs.outward import forward_outward
from ipvs.sctp import forward_sctp
from ipvs.table import Table
from ipvs.tunnel import forward_tunnel
from ipvs.tunnel6 import forward_tunnel6
from runtime.jit import compiled


@compiled
def forward_special(ipvs, packet, reference, l4):
    """Forward a packet of a SPECIAL or WIDE connection; like ``forward_at_once``.

    The first way of forwarding that the entry's ``special`` names takes the packet.
    """
    e = Entry(Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE)
    if e.special & S_NAT64:
        return forward_nat64(ipvs, packet, reference, l4)
    if e.special & S_TUNNEL:
        if e.flags & WIDE:
            return forward_tunnel6(ipvs, packet, reference, l4)
        return forward_tunnel(ipvs, packet, reference, l4)
    if e.special & S_SCTP:
        return forward_sctp(ipvs, packet, reference, l4)
    if e.special & S_SNAT:
        return forward_outward(ipvs, packet, reference, l4)
    if e.special & CHANGED:
        return forward_changed(ipvs, packet, reference, l4)
    return NOT_FORWARDED
