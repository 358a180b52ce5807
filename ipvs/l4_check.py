"""Checks of TCP and UDP headers that need no connection."""

from __future__ import annotations

from runtime.jit import compiled
from stack.drops import L4_SHORT, TCP_OFFSET, UDP_LENGTH
from stack.headers import PROTO_TCP, Tcp, Udp


@compiled
def check_l4(l4, available, proto):
    """0 when the TCP or UDP header fits ``available`` bytes and its lengths agree."""
    if proto == PROTO_TCP:
        if available < 20:
            return L4_SHORT
        offset = (Tcp(l4).offset >> 4) * 4
        return 0 if (offset >= 20 and offset <= available) else TCP_OFFSET
    if available < 8:
        return L4_SHORT
    length = Udp(l4).length
    return 0 if (length >= 8 and length <= available) else UDP_LENGTH
