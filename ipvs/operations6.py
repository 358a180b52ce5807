"""Operations (ipvs/operations.py) on IPv6 routes, neighbours, addresses and multicast groups.

Addresses are two raw words, high then low (stack/address6.py).
"""

from __future__ import annotations

from runtime.intrinsics import load64
from runtime.jit import compiled
from stack import neigh, neigh6, route6
from stack.address6 import LINK_LOCAL_HIGH
from stack.context import Stack, bump_generation
from stack.dad import announce6, end_dad, find_tentative, start_dad
from stack.mld import join, leave, report_again
from stack.mld_query import note_querier

FIRST6 = 64  # codes of this file begin here
ROUTE6_SET = 64  # prefix, way (see way6), gateway, source
ROUTE6_DELETE = 65  # prefix, length
NEIGHBOUR6_SET = 66  # address, port, mac, permanent
NEIGHBOUR6_DELETE = 67  # address, port
ADDRESS6_NEW = 68  # address, port, 1: look for duplicates
ADDRESS6_GONE = 69  # address, port
GROUP_JOIN = 70  # group (ff02::...), port
GROUP_LEAVE = 71  # group, port
GROUPS_REPORT = 72  # 0, 0, port: all groups again
GROUPS_QUERIER = 73  # 0, 0, port, 1: speaks version 1, robustness variable

DONE = 1
FULL = 0


def way6(length: int, kind: int, port: int, mtu: int, flags: int) -> int:
    """The small numbers of a route in one word."""
    return length | kind << 8 | port << 16 | mtu << 32 | flags << 48


@compiled
def set_route6(stack, high, low, arguments):
    """Add or replace a route; every connection looks its next hop up again."""
    way = load64(arguments + 16)
    found = route6.insert6(
        Stack(stack).routes6, high, low, way & 0xFF, (way >> 8) & 0xFF, (way >> 16) & 0xFFFF,
        (way >> 32) & 0xFFFF,
    )  # fmt: skip
    if found == 0:
        return FULL
    r = route6.Route6(found)
    r.gateway_high = load64(arguments + 24)
    r.gateway_low = load64(arguments + 32)
    r.source_high = load64(arguments + 40)
    r.source_low = load64(arguments + 48)
    r.flags = (way >> 48) & 0x7FFF
    bump_generation(stack)
    return DONE


@compiled
def set_neighbour6(stack, high, low, port, mac, permanent):
    """A neighbour from the operator (permanent) or learnt by another worker."""
    entry = neigh6.find_or_add6(stack, port, high, low)
    if entry == 0:
        return FULL
    neigh.tell(stack, entry, mac, permanent)
    return DONE


@compiled
def _change_address(stack, code, high, low, port, check):
    s = Stack(stack)
    if code == ADDRESS6_NEW:
        if high == LINK_LOCAL_HIGH:
            s.link_local[port] = low
        if check:
            start_dad(stack, port, high, low)
        else:
            announce6(stack, port, high, low)
        return DONE
    if high == LINK_LOCAL_HIGH and s.link_local[port] == low:
        s.link_local[port] = 0
    slot = find_tentative(stack, port, high, low)
    if slot != 0:
        end_dad(stack, slot)
    return DONE


@compiled
def _change_groups(stack, code, low, port, arguments):
    if code == GROUP_JOIN:
        # Without room for it it is counted: the address works where nobody filters groups.
        join(stack, port, low)
    elif code == GROUP_LEAVE:
        leave(stack, port, low)
    elif code == GROUPS_REPORT:
        report_again(stack, port)
    else:
        note_querier(stack, port, load64(arguments + 24), load64(arguments + 32))
    return DONE


@compiled
def execute6(stack, code, arguments):
    """Execute one operation, its arguments at an address; DONE or FULL."""
    high = load64(arguments)
    low = load64(arguments + 8)
    third = load64(arguments + 16)
    if code == ROUTE6_SET:
        return set_route6(stack, high, low, arguments)
    if code == ROUTE6_DELETE:
        if route6.remove6(Stack(stack).routes6, high, low, third):
            bump_generation(stack)
        return DONE
    if code == NEIGHBOUR6_SET:
        return set_neighbour6(
            stack, high, low, third, load64(arguments + 24), load64(arguments + 32)
        )
    if code == NEIGHBOUR6_DELETE:
        entry = neigh6.find6(Stack(stack).neighbours, third, high, low)
        if entry != 0:
            neigh.remove(stack, entry)
        return DONE
    if code >= GROUP_JOIN:
        return _change_groups(stack, code, low, third, arguments)
    return _change_address(stack, code, high, low, third, load64(arguments + 24))
