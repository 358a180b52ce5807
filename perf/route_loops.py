"""Compiled loops over the route tables: load, look up, replace.

Routes lie as four words (high, low, length, number), addresses as two; IPv4 uses low only.
"""

from __future__ import annotations

from runtime.intrinsics import load64, rdtsc, store64
from runtime.jit import compiled
from stack import route, route6

ROUTE_WORDS, ADDRESS_WORDS = 32, 16  # bytes


@compiled
def add(table, version, at):
    """Enter the route at an address; 0 when the table is full.  Its number becomes the gateway."""
    length = load64(at + 16)
    number = load64(at + 24)
    if version == 4:
        return route.insert(table, load64(at + 8), length, route.GATEWAY, number, 1, 0, 1500)
    found = route6.insert6(table, load64(at), load64(at + 8), length, route6.GATEWAY, 1, 1500)
    if found != 0:
        route6.Route6(found).gateway_low = number
    return found


@compiled
def load(table, version, routes, count):
    """Enter ``count`` routes; how many found room."""
    done = 0
    for i in range(count):
        if add(table, version, routes + i * ROUTE_WORDS) != 0:
            done += 1
    return done


@compiled
def replace(table, version, routes, order, count, out):
    """Remove the routes whose numbers are at ``order`` and add each again; cycles go to ``out``."""
    began = rdtsc()
    done = 0
    for i in range(count):
        at = routes + load64(order + i * 8) * ROUTE_WORDS
        if version == 4:
            done += route.remove(table, load64(at + 8), load64(at + 16))
        else:
            done += route6.remove6(table, load64(at), load64(at + 8), load64(at + 16))
        add(table, version, at)
    store64(out, rdtsc() - began)
    return done


@compiled
def look_up(table, version, addresses, count, out):
    """Look ``count`` addresses up; cycles go to ``out``.  Returns how many had a route."""
    hits = 0
    began = rdtsc()
    if version == 4:
        for i in range(count):
            if route.lookup(table, load64(addresses + i * ADDRESS_WORDS + 8)) != 0:
                hits += 1
    else:
        for i in range(count):
            at = addresses + i * ADDRESS_WORDS
            if route6.lookup6(table, load64(at), load64(at + 8)) != 0:
                hits += 1
    store64(out, rdtsc() - began)
    return hits


@compiled
def number_of(table, version, at):
    """Number of the route that the address at ``at`` takes, -1 without one."""
    if version == 4:
        found = route.lookup(table, load64(at + 8))
        return -1 if found == 0 else route.Route(found).gateway
    found = route6.lookup6(table, load64(at), load64(at + 8))
    return -1 if found == 0 else route6.Route6(found).gateway_low
