"""Small queue of facts a compiled function wants the interpreter of its own process to know.

The polling thread writes, another thread of the process turns the records into messages.  When it
is full, events are counted as lost; every event describes state that can be read again.
"""

from __future__ import annotations

import ctypes

from runtime.intrinsics import store_release
from runtime.jit import compiled
from runtime.pointers import view

EVENT_SLOTS = 256
NEIGHBOUR_LEARNT = 1  # a: address, b: MAC (low 48 bits as on the wire), c: port index
ADDRESS_CONFLICT = 2  # a: address, b: MAC of the other holder, c: port index
# IPv6.  a, b: the address's raw words, c: MAC as above, port index in bits 48..63
NEIGHBOUR6_LEARNT = 3
ADDRESS6_CONFLICT = 4
ADDRESS6_DUPLICATE = 5  # of an address of ours that was in check: it must not be used
MLD_QUERIER = 6  # a: port index, b: 1 if it speaks version 1, c: its robustness variable


class EventStruct(ctypes.Structure):
    """One record."""

    _fields_ = [
        ("kind", ctypes.c_int64),
        ("a", ctypes.c_int64),
        ("b", ctypes.c_int64),
        ("c", ctypes.c_int64),
    ]


class EventQueueStruct(ctypes.Structure):
    """Ring of EVENT_SLOTS records; head and tail count records ever written and read."""

    _fields_ = [
        ("head", ctypes.c_int64),
        ("tail", ctypes.c_int64),
        ("lost", ctypes.c_int64),
        ("slots", EventStruct * EVENT_SLOTS),
    ]


EventQueue = view(EventQueueStruct)
HEAD_AT = EventQueue.offset("head")


@compiled
def emit(queue, kind, a, b, c):
    """Append one event; counts it as lost when the queue is full."""
    q = EventQueue(queue)
    if q.head - q.tail >= EVENT_SLOTS:
        q.lost += 1
        return 0
    slot = q.slots[q.head & (EVENT_SLOTS - 1)]
    slot.kind = kind
    slot.a = a
    slot.b = b
    slot.c = c
    # The record before the count that shows it.
    store_release(queue + HEAD_AT, q.head + 1)
    return 1


def drain(queue: int) -> list[tuple[int, int, int, int]]:
    """Take all events out (interpreter side): list of (kind, a, b, c)."""
    q = EventQueue(queue)
    result = []
    while q.tail != q.head:
        slot = q.slots[q.tail & (EVENT_SLOTS - 1)]
        result.append((slot.kind, slot.a, slot.b, slot.c))
        q.tail += 1
    return result
