"""IPv6 extension headers (RFC 8200 section 4): from the fixed header to what the packet carries.

What is wrong is a drop reason; where the sender is to be told (a parameter problem, RFC 4443 3.4),
``pointer6`` of the stack holds its code and pointer, otherwise NO_PROBLEM.
"""

from __future__ import annotations

from runtime.intrinsics import load8
from runtime.jit import compiled
from stack.address6 import is_multicast6
from stack.context import Stack
from stack.drops6 import (
    IP6_EXT_MANY,
    IP6_EXT_OPTION,
    IP6_EXT_ORDER,
    IP6_EXT_SHORT,
    IP6_ROUTING,
)
from stack.headers import FRAGMENT_LEN, IP6_DST, IP6_LEN, IP6_MF, IP6_OFFSET, Fragment

HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT = 44
AUTHENTICATION = 51
NO_NEXT = 59
DESTINATION = 60
NEXT_AT = 6  # of the fixed header's next header field
MAX_HEADERS = 8

PAD1, PADN, TUNNEL_LIMIT, ROUTER_ALERT = 0, 1, 4, 5
WRONG_FIELD, UNKNOWN_HEADER, UNKNOWN_OPTION, SHORT_CHAIN = range(4)  # of a parameter problem
NO_PROBLEM = -1
CODE_SHIFT = 16


@compiled
def note_problem(stack, code, pointer):
    """Remember what to tell the sender: ``pointer`` is an offset from the IPv6 header."""
    Stack(stack).pointer6 = (code << CODE_SHIFT) | pointer
    return 0


@compiled
def _unknown_option(stack, l3, at, kind):
    """What an option's two highest bits ask for (RFC 8200 4.2); 0 or a drop reason."""
    action = kind >> 6
    if action == 0:
        return 0
    if action == 2 or (action == 3 and is_multicast6(load8(l3 + IP6_DST)) == 0):
        note_problem(stack, UNKNOWN_OPTION, at - l3)
    return IP6_EXT_OPTION


@compiled
def check_options6(stack, l3, at, end):
    """The options between ``at`` and ``end``, one after the other; 0 or a drop reason."""
    while at < end:
        kind = load8(at)
        if kind == PAD1:
            at += 1
            continue
        if at + 2 > end or at + 2 + load8(at + 1) > end:
            return IP6_EXT_SHORT
        if kind != PADN and kind != TUNNEL_LIMIT and kind != ROUTER_ALERT:
            reason = _unknown_option(stack, l3, at, kind)
            if reason != 0:
                return reason
        at += 2 + load8(at + 1)
    return 0


@compiled
def header_size(at, kind):
    """Bytes of the extension header at ``at``."""
    if kind == FRAGMENT:
        return FRAGMENT_LEN
    if kind == AUTHENTICATION:
        return (load8(at + 1) + 2) * 4
    return (load8(at + 1) + 1) * 8


@compiled
def is_extension(kind):
    """1 for the headers that stand before the upper layer and can be skipped."""
    if kind == HOP_BY_HOP or kind == DESTINATION:
        return 1
    return 1 if (kind == ROUTING or kind == AUTHENTICATION) else 0


@compiled
def _check(stack, l3, at, kind, size):
    """One header of ``size`` bytes; 0 or a drop reason."""
    if kind == HOP_BY_HOP or kind == DESTINATION:
        return check_options6(stack, l3, at + 2, at + size)
    if kind == ROUTING and load8(at + 3) != 0:
        # Any type: we are no waypoint.  Without segments left the header has no meaning any more.
        note_problem(stack, WRONG_FIELD, at + 2 - l3)
        return IP6_ROUTING
    return 0


@compiled
def hop_by_hop(stack, l3, length):
    """The header every node on the way looks at, if there is one; 0 or a drop reason."""
    Stack(stack).pointer6 = NO_PROBLEM
    if load8(l3 + NEXT_AT) != HOP_BY_HOP:
        return 0
    at = l3 + IP6_LEN
    if length < IP6_LEN + 8 or IP6_LEN + header_size(at, HOP_BY_HOP) > length:
        return IP6_EXT_SHORT
    return check_options6(stack, l3, at + 2, at + header_size(at, HOP_BY_HOP))


@compiled
def _is_whole(at, room):
    """1 for the header of an atomic fragment, which is its whole datagram (RFC 6946)."""
    return 1 if (room >= FRAGMENT_LEN and Fragment(at).place & (IP6_OFFSET | IP6_MF) == 0) else 0


@compiled
def walk_from(stack, l3, length, named, offset):
    """``walk``, from the header at ``offset`` on, whose kind is in the field at ``named``."""
    s = Stack(stack)
    s.pointer6 = NO_PROBLEM
    for _ in range(MAX_HEADERS):
        kind = load8(l3 + named)
        whole = 1 if (kind == FRAGMENT and _is_whole(l3 + offset, length - offset)) else 0
        if is_extension(kind) == 0 and whole == 0:
            s.pointer6 = named
            return kind | (offset << 8)
        if kind == HOP_BY_HOP and offset != IP6_LEN:
            note_problem(stack, UNKNOWN_HEADER, named)
            return -IP6_EXT_ORDER
        if offset + 8 > length:
            return -IP6_EXT_SHORT
        size = header_size(l3 + offset, kind)
        if offset + size > length:
            return -IP6_EXT_SHORT
        reason = _check(stack, l3, l3 + offset, kind, size)
        if reason != 0:
            return -reason
        named = offset
        offset += size
    return -IP6_EXT_MANY


@compiled
def walk(stack, l3, length):
    """Upper-layer protocol | its offset << 8 of a packet of ``length`` bytes; -reason if dropped.

    Checks all headers in front of it, as their destination does.  Stops at a fragment header,
    unless that of an atomic fragment.  ``pointer6`` then is the offset of the field that names the
    protocol.
    """
    return walk_from(stack, l3, length, NEXT_AT, IP6_LEN)


@compiled
def upper_of(l3, length):
    """Like ``walk`` of headers that nobody checks: protocol | offset << 8, 0 when cut short.

    Looks through the header of a first fragment; of a later one it says FRAGMENT.
    """
    offset = IP6_LEN
    kind = load8(l3 + NEXT_AT)
    for _ in range(MAX_HEADERS):
        if is_extension(kind) == 0 and kind != FRAGMENT:
            return kind | (offset << 8)
        if offset + 8 > length:
            return 0
        at = l3 + offset
        if kind == FRAGMENT and Fragment(at).place & IP6_OFFSET:
            return FRAGMENT | (offset << 8)
        offset += header_size(at, kind)
        kind = load8(at)
    return 0


@compiled
def fragment_header(l3, end):
    """Address of the fragment header among the whole headers between ``l3`` and ``end``, or 0."""
    at = l3 + IP6_LEN
    kind = load8(l3 + NEXT_AT)
    while at < end:
        if kind == FRAGMENT:
            return at
        following = load8(at)
        at += header_size(at, kind)
        kind = following
    return 0
