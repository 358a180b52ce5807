"""Next hop of a connection's direction: route and neighbour, cached under the route generation."""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.create import swap32
from ipvs.dest import DEST_SIZE, Dest
from ipvs.drops import DEST_ROUTE, TUNNEL_SOURCE
from ipvs.entry import MODE_DR, S_TUNNEL, SPECIAL, Entry
from ipvs.resolve6 import remember, resolve6, route_mtu6
from ipvs.wide_entry import SIX
from netdev.port import Port
from runtime.jit import compiled
from stack.arp import source_for
from stack.context import Stack
from stack.drops import IP_LOOP, NEIGH_FULL, PORT_DOWN
from stack.neigh import find_or_add
from stack.route import GATEWAY, LOCAL, Route, lookup


@compiled
def target_of(ipvs, entry, side):
    """Host-order address that packets arriving on ``side`` are sent to."""
    e = Entry(entry)
    if side == 0 and e.mode == MODE_DR:
        return Dest(Ipvs(ipvs).dests + e.dest * DEST_SIZE).address
    return swap32(e.side[side ^ 1].addresses & 0xFFFFFFFF)


@compiled
def _tunnel_from(ipvs, entry, target, port):
    """Our end of the tunnel: the source address of the route to the real server; 0 or a reason."""
    source = source_for(Ipvs(ipvs).stack, target, port)
    if source == 0:
        return TUNNEL_SOURCE
    side = Entry(entry).side[1]
    side.addresses = (side.addresses & 0xFFFFFFFF) | (swap32(source) << 32)
    return 0


@compiled
def resolve(ipvs, entry, side):
    """Find the next hop of one direction and remember it in the entry; 0 or a drop reason."""
    if Entry(entry).side[side ^ 1].ports & SIX:
        return resolve6(ipvs, entry, side)
    w = Ipvs(ipvs)
    s = Stack(w.stack)
    target = target_of(ipvs, entry, side)
    route = lookup(s.routes, target)
    # Target 0: the real server of a connection found at start was removed meanwhile.
    if route == 0 or target == 0:
        return DEST_ROUTE
    r = Route(route)
    if r.kind == LOCAL:
        return IP_LOOP
    if Port(s.ports[r.port]).tx_queue < 0:
        return PORT_DOWN
    hop = r.gateway if r.kind == GATEWAY else target
    found = find_or_add(w.stack, r.port, hop)
    if found == 0:
        return NEIGH_FULL
    e = Entry(entry)
    if side == 0 and e.flags & SPECIAL and e.special & S_TUNNEL:
        reason = _tunnel_from(ipvs, entry, target, r.port)
        if reason != 0:
            return reason
    return remember(ipvs, entry, side, found, r.mtu)


@compiled
def route_mtu(ipvs, entry, side, mtu):
    """MTU of the route of one direction if it is below ``mtu``, the port's; else ``mtu``."""
    if Entry(entry).side[side ^ 1].ports & SIX:
        return route_mtu6(ipvs, entry, side, mtu)
    found = lookup(Stack(Ipvs(ipvs).stack).routes, target_of(ipvs, entry, side))
    if found != 0 and Route(found).mtu != 0 and Route(found).mtu < mtu:
        return Route(found).mtu
    return mtu
