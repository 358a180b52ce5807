"""Multicast groups a worker listens to on its ports, and what is to be said of them when.

All our groups are ff02:: ones with any source: solicited-node groups (RFC 4291 2.7.1).  A group is
its low word (stack/address6.py) on a port.
"""

from __future__ import annotations

import ctypes

from netdev.port import MAX_PORTS
from runtime.intrinsics import shr, times
from runtime.jit import compiled
from runtime.pointers import view
from stack.context import Stack

GROUPS = 4096
FREE, MEMBER, LEAVING = range(3)
ROBUSTNESS = 2  # RFC 3810 9.1: reports of one change, until a querier says otherwise
_STEP = 6364136223846793005  # Knuth's multiplier modulo 2**64


class GroupStruct(ctypes.Structure):
    """One group on one port.  Times are ms of the worker clock."""

    _fields_ = [
        ("low", ctypes.c_int64),
        ("change_at", ctypes.c_uint32),  # when the next of ``changes`` is sent
        ("answer_at", ctypes.c_uint32),
        ("port", ctypes.c_uint16),
        ("state", ctypes.c_uint8),
        ("changes", ctypes.c_uint8),  # reports of a change that are still to be sent
        ("answer", ctypes.c_uint8),  # 1: a query is to be answered
    ]


class ListenerStruct(ctypes.Structure):
    """What the querier of a port is like."""

    _fields_ = [
        ("since", ctypes.c_uint32),  # ms, when a querier of version 1 was heard last
        ("told", ctypes.c_uint32),  # ms, when the other workers were told last
        ("v1", ctypes.c_uint8),  # 1: we speak version 1 (RFC 3810 8.2.1)
        ("robustness", ctypes.c_uint8),
        ("armed", ctypes.c_uint8),  # 1: something is to be sent
        ("nameless", ctypes.c_uint8),  # 1: a report was sent from :: (RFC 3590)
    ]


class MldTableStruct(ctypes.Structure):
    """All groups of a worker; slots below ``high`` were used at some time."""

    _fields_ = [
        ("high", ctypes.c_int64),
        ("seed", ctypes.c_int64),
        ("listener", ListenerStruct * MAX_PORTS),
        ("group", GroupStruct * GROUPS),
    ]


Group = view(GroupStruct)
Listener = view(ListenerStruct)
MldTable = view(MldTableStruct)


def initialise(address: int, seed: int) -> None:
    """Lay out an empty table in zeroed memory at ``address``."""
    table = MldTable(address)
    table.seed = seed
    for port in range(MAX_PORTS):
        table.listener[port].robustness = ROBUSTNESS


@compiled
def random_below(table, limit):
    """A number from 0 to ``limit`` - 1 (at most 2**31)."""
    t = MldTable(table)
    t.seed = times(t.seed, _STEP) + 1
    return (shr(t.seed, 33) * limit) >> 31


@compiled
def passed(now, moment):
    """1 when a moment of the wrapping clock is not in the future."""
    return 1 if (now - moment) & 0xFFFFFFFF < 0x80000000 else 0


@compiled
def find_group(table, port, low):
    """Slot of a group on a port, or 0."""
    t = MldTable(table)
    for i in range(t.high):
        g = t.group[i]
        if g.low == low and g.port == port and g.state != FREE:
            return g.ptr
    return 0


@compiled
def new_group(table, port, low):
    """A slot for a group that has none, its state still FREE; 0 when all are taken."""
    t = MldTable(table)
    i = 0
    while i < t.high and t.group[i].state != FREE:
        i += 1
    if i == GROUPS:
        return 0
    if i == t.high:
        t.high = i + 1
    g = t.group[i]
    g.low = low
    g.port = port
    g.changes = 0
    g.answer = 0
    return g.ptr


@compiled
def listener_of(stack, port):
    """What is known of a port's querier."""
    return MldTable(Stack(stack).mld).listener[port].ptr
