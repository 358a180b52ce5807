"""Next hop of a connection's direction that leaves over IPv6; see ipvs/resolve.py."""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.dest import DEST_SIZE, Dest
from ipvs.drops import DEST_ROUTE, TUNNEL_SOURCE
from ipvs.entry import LOW_MTU, MODE_DR, S_TUNNEL, SPECIAL, Entry
from ipvs.wide_entry import WIDE_AT, Wide
from netdev.port import Port
from runtime.jit import compiled
from stack.context import Stack
from stack.drops import IP_LOOP, NEIGH_FULL, PORT_DOWN
from stack.local6 import source_high6, source_low6
from stack.neigh import Neighbour, number_of
from stack.neigh6 import find_or_add6
from stack.route import GATEWAY, LOCAL
from stack.route6 import Route6, lookup6


@compiled
def route_of6(ipvs, entry, side):
    """Route to where packets arriving on ``side`` are sent, or 0."""
    w = Ipvs(ipvs)
    e = Entry(entry)
    routes = Stack(w.stack).routes6
    if side == 0 and e.mode == MODE_DR:
        d = Dest(w.dests + e.dest * DEST_SIZE)
        return lookup6(routes, d.high, d.low)
    other = Wide(entry + WIDE_AT).side[side ^ 1]
    return lookup6(routes, other.src_high, other.src_low)


@compiled
def _neighbour(ipvs, entry, side, route):
    """Neighbour entry of the next hop, or 0 when there is no room for it."""
    w = Ipvs(ipvs)
    e = Entry(entry)
    r = Route6(route)
    if r.kind == GATEWAY:
        return find_or_add6(w.stack, r.port, r.gateway_high, r.gateway_low)
    if side == 0 and e.mode == MODE_DR:
        d = Dest(w.dests + e.dest * DEST_SIZE)
        return find_or_add6(w.stack, r.port, d.high, d.low)
    other = Wide(entry + WIDE_AT).side[side ^ 1]
    return find_or_add6(w.stack, r.port, other.src_high, other.src_low)


@compiled
def _tunnel_from6(ipvs, entry, port):
    """Our end of the tunnel: the source of the route to the real server; 0 or a drop reason."""
    stack = Ipvs(ipvs).stack
    outer = Wide(entry + WIDE_AT).side[1]
    high = source_high6(stack, port, outer.src_high, outer.src_low)
    if high == 0:
        return TUNNEL_SOURCE
    outer.dst_high = high
    outer.dst_low = source_low6(stack, port, outer.src_high, outer.src_low)
    return 0


@compiled
def remember(ipvs, entry, side, neighbour, mtu):
    """Enter the next hop of one direction, and whether its route has an ``mtu`` below the port's.

    Of both families; returns 0.
    """
    s = Stack(Ipvs(ipvs).stack)
    e = Entry(entry)
    mark = LOW_MTU << side
    e.flags = e.flags & ~mark
    if mtu != 0 and mtu < Port(s.ports[Neighbour(neighbour).port]).mtu:
        e.flags = e.flags | mark
    forward = e.forward[side]
    forward.neighbour = number_of(s.neighbours, neighbour)
    forward.generation = s.generation
    return 0


@compiled
def resolve6(ipvs, entry, side):
    """Find the next hop of one direction and remember it in the entry; 0 or a drop reason."""
    s = Stack(Ipvs(ipvs).stack)
    route = route_of6(ipvs, entry, side)
    if route == 0:
        return DEST_ROUTE
    r = Route6(route)
    if r.kind == LOCAL:
        return IP_LOOP
    if Port(s.ports[r.port]).tx_queue < 0:
        return PORT_DOWN
    found = _neighbour(ipvs, entry, side, route)
    if found == 0:
        return NEIGH_FULL
    e = Entry(entry)
    if side == 0 and e.flags & SPECIAL and e.special & S_TUNNEL:
        reason = _tunnel_from6(ipvs, entry, r.port)
        if reason != 0:
            return reason
    return remember(ipvs, entry, side, found, r.mtu)


@compiled
def route_mtu6(ipvs, entry, side, mtu):
    """MTU of the route of one direction if it is below ``mtu``, the port's; else ``mtu``."""
    found = route_of6(ipvs, entry, side)
    if found != 0 and Route6(found).mtu != 0 and Route6(found).mtu < mtu:
        return Route6(found).mtu
    return mtu
