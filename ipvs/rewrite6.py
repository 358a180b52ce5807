"""Ports, checksum and IPv6 addresses of a packet become the other side's."""

from __future__ import annotations

from ipvs.entry import FORWARD_AT, Forward, Side
from ipvs.wide_entry import WIDE_AT, WIDE_SIDE, WideSide
from runtime.intrinsics import load16, store16, store32, store64
from runtime.jit import inlined
from stack.checksum import update
from stack.headers import IP6_DST, IP6_SRC, PROTO_TCP


@inlined
def rewrite_l4(l4, entry, side, proto):
    """The other side's ports, turned around; the checksum by the difference of this direction."""
    ports = Side(entry + (side ^ 1) * 16).ports
    delta = Forward(entry + FORWARD_AT + side * 8).l4_delta
    store32(l4, ((ports & 0xFFFF) << 16) | ((ports >> 16) & 0xFFFF))
    if proto == PROTO_TCP:
        store16(l4 + 16, update(load16(l4 + 16), delta))
    else:
        # Never 0 here: that would say "no checksum", which IPv6 forbids (RFC 8200 8.1).
        new = update(load16(l4 + 6), delta)
        store16(l4 + 6, new if new != 0 else 0xFFFF)
    return 0


@inlined
def write_addresses6(l3, entry, side):
    """Source and destination of a packet that arrived on ``side``: the other side's, turned."""
    other = WideSide(entry + WIDE_AT + (side ^ 1) * WIDE_SIDE)
    store64(l3 + IP6_SRC, other.dst_high)
    store64(l3 + IP6_SRC + 8, other.dst_low)
    store64(l3 + IP6_DST, other.src_high)
    store64(l3 + IP6_DST + 8, other.src_low)
    return 0
