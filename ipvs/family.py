"""What has one name in both IP families, for steps that are the same in either."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.room import is_six as is_six
from runtime.intrinsics import load64
from runtime.jit import compiled
from stack.arp import is_local
from stack.context import Stack
from stack.headers import ETHER_LEN, IP6_DST, IP6_SRC, Ipv4
from stack.ipv4 import receive_ipv4
from stack.ipv6 import receive_ipv6
from stack.local6 import local6
from stack.route import LOCAL, Route, lookup
from stack.route6 import Route6, lookup6

NO_WAY = -1
PORT = 0xFFFF
OURS = 1 << 16  # the destination is an address of ours
FLAGS_AT = 32  # flags of its route


@compiled
def from_us(ipvs, l3):
    """1 when a packet's source is an address of ours."""
    stack = Ipvs(ipvs).stack
    if is_six(l3):
        return local6(stack, load64(l3 + IP6_SRC), load64(l3 + IP6_SRC + 8), -1)
    return is_local(stack, Ipv4(l3).src, -1)


@compiled
def to_us(ipvs, l3):
    """1 when a packet's destination is an address of ours."""
    stack = Ipvs(ipvs).stack
    if is_six(l3):
        return local6(stack, load64(l3 + IP6_DST), load64(l3 + IP6_DST + 8), -1)
    return is_local(stack, Ipv4(l3).dst, -1)


@compiled
def way_of(ipvs, l3):
    """Index of the port that a packet leaves by, with OURS and from bit 32 on the route's flags.

    NO_WAY without a route.
    """
    s = Stack(Ipvs(ipvs).stack)
    if is_six(l3):
        found = lookup6(s.routes6, load64(l3 + IP6_DST), load64(l3 + IP6_DST + 8))
        if found == 0:
            return NO_WAY
        six = Route6(found)
        return six.port | (OURS if six.kind == LOCAL else 0) | (six.flags << FLAGS_AT)
    found = lookup(s.routes, Ipv4(l3).dst)
    if found == 0:
        return NO_WAY
    four = Route(found)
    return four.port | (OURS if four.kind == LOCAL else 0) | (four.flags << FLAGS_AT)


@compiled
def to_stack(ipvs, packet):
    """Give a packet that is no business of services to the stack; 0 or a drop reason."""
    k = Packet(packet)
    if is_six(k.data + ETHER_LEN):
        return receive_ipv6(Ipvs(ipvs).stack, k.mbuf, k.data)
    return receive_ipv4(Ipvs(ipvs).stack, k.mbuf, k.data)
