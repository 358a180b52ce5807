"""Duplicate address detection (RFC 4862 5.4), optimistic (RFC 4429): an address works at once.

For a second after an address was given to us, whoever claims it too ends its use; until then our
advertisements override nobody's.  One worker of all sends the probe and, when nobody objected,
the advertisement that tells the link; every worker listens.
"""

from __future__ import annotations

import ctypes

from netdev.port import Port
from runtime.jit import compiled
from runtime.pointers import view
from stack.context import Stack
from stack.events import ADDRESS6_DUPLICATE, emit
from stack.nd_send import OVERRIDE, advertise, probe

SLOTS = 256
DAD_MS = 1000  # RFC 4861 RetransTimer, one probe


class DadSlotStruct(ctypes.Structure):
    """One tentative address."""

    _fields_ = [
        ("high", ctypes.c_int64),
        ("low", ctypes.c_int64),
        ("since", ctypes.c_uint32),  # ms
        ("port", ctypes.c_uint16),
        ("used", ctypes.c_uint16),
    ]


class DadTableStruct(ctypes.Structure):
    """All tentative addresses of a worker; ``count`` of the slots are in use."""

    _fields_ = [("count", ctypes.c_int64), ("slot", DadSlotStruct * SLOTS)]


DadSlot = view(DadSlotStruct)
DadTable = view(DadTableStruct)


@compiled
def speaks(stack, port):
    """1 for the worker that sends what only one of all should."""
    s = Stack(stack)
    return 1 if (s.worker == 0 and Port(s.ports[port]).tx_queue >= 0) else 0


@compiled
def find_tentative(stack, port, high, low):
    """Slot of an address that is being checked, or 0."""
    t = DadTable(Stack(stack).dad)
    if t.count == 0:
        return 0
    for i in range(SLOTS):
        slot = t.slot[i]
        if slot.used and slot.high == high and slot.low == low and slot.port == port:
            return slot.ptr
    return 0


@compiled
def announce6(stack, port, high, low):
    """Tell the link of an address that needs no check (RFC 4861 7.2.6)."""
    if speaks(stack, port):
        advertise(stack, port, high, low, OVERRIDE)
    return 0


@compiled
def start_dad(stack, port, high, low):
    """Begin to check an address; with too many in check it is announced at once instead."""
    s = Stack(stack)
    t = DadTable(s.dad)
    if find_tentative(stack, port, high, low):
        return 0
    for i in range(SLOTS):
        slot = t.slot[i]
        if slot.used == 0:
            slot.used = 1
            slot.high = high
            slot.low = low
            slot.port = port
            slot.since = s.now
            t.count += 1
            if speaks(stack, port):
                probe(stack, port, high, low)
            return 1
    return announce6(stack, port, high, low)


@compiled
def end_dad(stack, slot):
    """The check of an address is over."""
    DadSlot(slot).used = 0
    DadTable(Stack(stack).dad).count -= 1
    return 0


@compiled
def duplicate(stack, slot, mac):
    """Somebody (``mac``) else has the tentative address of ``slot``."""
    d = DadSlot(slot)
    emit(Stack(stack).events, ADDRESS6_DUPLICATE, d.high, d.low, mac | (d.port << 48))
    return end_dad(stack, slot)


@compiled
def age_dad(stack):
    """Announce the addresses that nobody objected to in time."""
    s = Stack(stack)
    t = DadTable(s.dad)
    if t.count == 0:
        return 0
    for i in range(SLOTS):
        slot = t.slot[i]
        if slot.used and (s.now - slot.since) & 0xFFFFFFFF >= DAD_MS:
            end_dad(stack, slot.ptr)
            announce6(stack, slot.port, slot.high, slot.low)
    return 0
