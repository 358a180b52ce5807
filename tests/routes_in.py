"""What a worker's route tables hold, found through the chains of their hash tables."""

from __future__ import annotations

import ctypes
from ipaddress import IPv6Address

from stack import route, route6
from stack.address6 import text


def routes_in(rig, version):
    """{(destination, length): (gateway, source, kind, port, mtu)}, addresses as numbers, 0: none.

    Fails when a chain or a count is wrong, or a mark is old.
    """
    found = {}
    views = (route.RouteTable, route.Route) if version == 4 else (route6.Route6Table, route6.Route6)
    head = views[0](rig.stack.routes if version == 4 else rig.stack.routes6)
    for entry in filter(None, (ctypes.c_uint32 * head.buckets).from_address(head.heads)):
        while entry:
            r = views[1](head.routes + (entry - 1) * views[1].size)
            if version == 4:
                dst, *hop = r.prefix, r.gateway, r.source
            else:
                ends = (r.gateway_high, r.gateway_low), (r.source_high, r.source_low)
                dst, *hop = (int(IPv6Address(text(*pair))) for pair in ((r.high, r.low), *ends))
            assert (dst, r.length) not in found and r.mark == head.mark
            found[dst, r.length] = *hop, r.kind, r.port, r.mtu
            entry = r.next
    assert head.count == len(found)
    return found
