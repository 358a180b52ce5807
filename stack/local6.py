"""Which IPv6 addresses are ours, and from which we speak."""

from __future__ import annotations

from netdev.port import Port
from runtime.jit import compiled
from stack.address6 import LINK_LOCAL_HIGH, eui64_low, is_link_local6
from stack.context import Stack
from stack.route6 import GATEWAY, LOCAL, Route6, lookup6


@compiled
def local6(stack, high, low, port):
    """1 when the address is configured on port index ``port`` (-1: on any)."""
    found = lookup6(Stack(stack).routes6, high, low)
    if found == 0:
        return 0
    r = Route6(found)
    if r.kind != LOCAL:
        return 0
    return 1 if (port < 0 or r.port == port) else 0


@compiled
def link_local_low(stack, port):
    """Low word of the link-local address made of a port's MAC, or 0 when the port has it not."""
    s = Stack(stack)
    low = eui64_low(Port(s.ports[port]).mac)
    return low if local6(stack, LINK_LOCAL_HIGH, low, port) else 0


@compiled
def source_route6(stack, high, low):
    """Route whose source we speak to an address from: its own, or the one to its gateway; or 0."""
    s = Stack(stack)
    found = lookup6(s.routes6, high, low)
    if found == 0:
        return 0
    r = Route6(found)
    if r.kind == GATEWAY and r.source_high | r.source_low == 0:
        return lookup6(s.routes6, r.gateway_high, r.gateway_low)
    return found


@compiled
def source_high6(stack, port, high, low):
    """High word of our address to speak to an address from, over ``port``; 0 when there is none.

    Link-local hosts are spoken to from the port's link-local address (RFC 6724 rule 2).
    """
    if is_link_local6(high) == 0:
        found = source_route6(stack, high, low)
        if found != 0 and Route6(found).source_high != 0:
            return Route6(found).source_high
    return LINK_LOCAL_HIGH if link_local_low(stack, port) != 0 else 0


@compiled
def source_low6(stack, port, high, low):
    """The low word that belongs to ``source_high6``."""
    if is_link_local6(high) == 0:
        found = source_route6(stack, high, low)
        if found != 0 and Route6(found).source_high != 0:
            return Route6(found).source_low
    return link_local_low(stack, port)
