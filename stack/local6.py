"""Which IPv6 addresses are ours, and from which we speak."""

from __future__ import annotations

from runtime.jit import compiled
from stack.address6 import LINK_LOCAL_HIGH, is_link_local6
from stack.context import Stack
from stack.route6 import GATEWAY, LOCAL, Route6, lookup6


@compiled
def local6(stack, high, low, port):
    """1 when the address is configured on port index ``port`` (-1: on any)."""
    s = Stack(stack)
    if high == LINK_LOCAL_HIGH and port >= 0 and low != 0 and s.link_local[port] == low:
        return 1
    found = lookup6(s.routes6, high, low)
    if found == 0:
        return 0
    r = Route6(found)
    if r.kind != LOCAL:
        return 0
    return 1 if (port < 0 or r.port == port) else 0


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
    return LINK_LOCAL_HIGH if Stack(stack).link_local[port] != 0 else 0


@compiled
def source_low6(stack, port, high, low):
    """The low word that belongs to ``source_high6``."""
    if is_link_local6(high) == 0:
        found = source_route6(stack, high, low)
        if found != 0 and Route6(found).source_high != 0:
            return Route6(found).source_low
    return Stack(stack).link_local[port]
