"""IPv6 output: MTU, next hop, neighbour.  Compiled.

Link-local addresses belong to a link, not to the routing table: packets to them leave by the port
they concern.
"""

from __future__ import annotations

from netdev.abi import Mbuf
from netdev.port import Port, transmit
from runtime.intrinsics import load64, store16
from runtime.jit import compiled
from stack.address6 import (
    is_link_local6,
    is_multicast6,
    multicast_mac6,
)
from stack.context import Stack
from stack.drops import NEIGH_FULL, PORT_DOWN
from stack.drops6 import (
    IP6_LOOP,
    IP6_NO_ROUTE,
    IP6_TOO_BIG,
)
from stack.headers import (
    ETHER_LEN,
    IP6_DST,
)
from stack.icmp6 import (
    TOO_BIG6,
    send_error6,
)
from stack.nd_send import write_mac
from stack.neigh6 import find_or_add6
from stack.route6 import GATEWAY, LOCAL, Route6, lookup6
from stack.upkeep import output as neighbour_output


@compiled
def route_mtu6(stack, route):
    """Bytes of an IPv6 packet that may leave by ``route``."""
    r = Route6(route)
    mtu = Port(Stack(stack).ports[r.port]).mtu
    return r.mtu if (r.mtu != 0 and r.mtu < mtu) else mtu


@compiled
def send_on_link6(stack, port, high, low, mbuf):
    """Hand a packet to the neighbour with an address; 0 or a drop reason."""
    p = Port(Stack(stack).ports[port])
    if p.up == 0 or p.tx_queue < 0:
        return PORT_DOWN
    entry = find_or_add6(stack, port, high, low)
    if entry == 0:
        return NEIGH_FULL
    return neighbour_output(stack, entry, mbuf)


@compiled
def send_via6(stack, route, high, low, mbuf, data):
    """Hand an IPv6 packet to the next hop of ``route``; 0 or a reason.

    A packet beyond the MTU is answered with packet too big: nobody on the way fragments.
    """
    r = Route6(route)
    if r.kind == LOCAL:
        return IP6_LOOP
    mtu = route_mtu6(stack, route)
    if Mbuf(mbuf).pkt_len - ETHER_LEN > mtu:
        send_error6(stack, mbuf, data, TOO_BIG6, 0, mtu)
        return IP6_TOO_BIG
    if r.kind == GATEWAY:
        return send_on_link6(stack, r.port, r.gateway_high, r.gateway_low, mbuf)
    return send_on_link6(stack, r.port, high, low, mbuf)


@compiled
def output6(stack, mbuf, data, port):
    """Route and send a complete packet of ours; ``port``: where link-local destinations are."""
    s = Stack(stack)
    high = load64(data + ETHER_LEN + IP6_DST)
    low = load64(data + ETHER_LEN + IP6_DST + 8)
    if is_multicast6(high):
        write_mac(data, multicast_mac6(low))
        write_mac(data + 6, Port(s.ports[port]).mac)
        store16(data + 12, 0xDD86)
        transmit(s.ports[port], mbuf)
        return 0
    if is_link_local6(high):
        return send_on_link6(stack, port, high, low, mbuf)
    route = lookup6(s.routes6, high, low)
    if route == 0:
        return IP6_NO_ROUTE
    return send_via6(stack, route, high, low, mbuf, data)
