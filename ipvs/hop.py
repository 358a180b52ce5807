"""Where a packet of a connection leaves to, and its last step out."""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.entry import FORWARD_AT, Forward
from ipvs.resolve import resolve
from netdev.port import Port, transmit
from runtime.intrinsics import load64, store64
from runtime.jit import inlined
from stack.context import Stack
from stack.drops import PORT_DOWN
from stack.neigh import USABLE, Neighbour, entry_at
from stack.upkeep import output as neighbour_output


@inlined
def next_hop(ipvs, entry, side):
    """Address of the neighbour that packets arriving on ``side`` are sent to, or minus a reason.

    It is looked up again when a route or a neighbour moved.
    """
    s = Stack(Ipvs(ipvs).stack)
    forward = Forward(entry + FORWARD_AT + side * 8)
    if forward.generation != s.generation:
        reason = resolve(ipvs, entry, side)
        if reason != 0:
            return -reason
    hop = entry_at(s.neighbours, forward.neighbour)
    if Port(s.ports[Neighbour(hop).port]).up == 0:
        return -PORT_DOWN
    return hop


@inlined
def send(ipvs, hop, mbuf, data):
    """Ethernet header and transmit, or wait for the neighbour; 0 or a drop reason."""
    w = Ipvs(ipvs)
    s = Stack(w.stack)
    n = Neighbour(hop)
    if n.state < USABLE:
        return neighbour_output(w.stack, hop, mbuf)
    store64(data, load64(hop))
    store64(data + 6, load64(hop + 6))
    n.used = s.now
    transmit(s.ports[n.port], mbuf)
    return 0
