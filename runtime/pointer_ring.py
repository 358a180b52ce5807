"""Lockless ring of 8-byte values in bursts: mbuf pointers handed from worker to worker.

One producer, one consumer; ``tail`` and ``head`` count values for ever, each written by one side
with release order on cache lines of its own.  The block may lie anywhere (a DPDK memzone, shared
memory) and keeps its content when a worker dies: the next one goes on where it stopped.
"""

from __future__ import annotations

import ctypes

from runtime.intrinsics import copy, load64, load_acquire, store_release
from runtime.jit import compiled
from runtime.pointers import view


class PointerRingHeader(ctypes.Structure):
    """Head of the block; 128 bytes apart, because processors prefetch cache lines in pairs."""

    _fields_ = [
        ("magic", ctypes.c_int64),
        ("slots", ctypes.c_int64),
        ("_line0", ctypes.c_int64 * 14),
        ("tail", ctypes.c_int64),
        ("_line1", ctypes.c_int64 * 15),
        ("head", ctypes.c_int64),
        ("_line2", ctypes.c_int64 * 15),
    ]


PointerRing = view(PointerRingHeader)
MAGIC = int.from_bytes(b"DPVSPTR1", "little")
TAIL = PointerRing.offset("tail")
HEAD = PointerRing.offset("head")
DATA = ctypes.sizeof(PointerRingHeader)
MAX_SLOTS = 1 << 24


def size_bytes(slots: int) -> int:
    """Bytes of memory for ``slots`` values; ValueError unless a power of two up to 2**24."""
    if not 1 <= slots <= MAX_SLOTS or slots & (slots - 1):
        raise ValueError(f"pointer ring of {slots} slots: must be a power of two up to {MAX_SLOTS}")
    return DATA + 8 * slots


def initialise(address: int, slots: int) -> None:
    """Make an empty ring at ``address`` (8-byte aligned); nobody may use the block yet."""
    size = size_bytes(slots)
    if address <= 0 or address & 7:
        raise ValueError(f"pointer ring address {address:#x} is not 8-byte aligned")
    ctypes.memset(address, 0, size)
    header = PointerRingHeader.from_address(address)
    header.slots = slots
    header.magic = MAGIC


def is_valid(address: int, slots: int) -> bool:
    """Whether a ring of ``slots`` stands at ``address``: check it before the first use."""
    header = PointerRingHeader.from_address(address)
    used = header.tail - header.head
    return header.magic == MAGIC and header.slots == slots and 0 <= used <= slots


@compiled
def waiting(ring):
    """Number of values in the ring (at least that many for the consumer that asks)."""
    return load_acquire(ring + TAIL) - load64(ring + HEAD)


@compiled
def enqueue_burst(ring, array, count):
    """Append up to ``count`` values from the array at address ``array``; how many were accepted."""
    r = PointerRing(ring)
    slots = r.slots
    tail = r.tail
    used = tail - load_acquire(ring + HEAD)
    if used < 0 or used > slots:
        return 0
    accepted = min(count, slots - used)
    if accepted <= 0:
        return 0
    at = tail & (slots - 1)
    first = min(accepted, slots - at)
    copy(ring + DATA + (at << 3), array, first << 3)
    copy(ring + DATA, array + (first << 3), (accepted - first) << 3)
    store_release(ring + TAIL, tail + accepted)
    return accepted


@compiled
def dequeue_burst(ring, array, most):
    """Take up to ``most`` values into the array at address ``array``; how many were taken."""
    r = PointerRing(ring)
    slots = r.slots
    head = r.head
    used = load_acquire(ring + TAIL) - head
    if used < 0 or used > slots:
        return 0
    taken = min(most, used)
    if taken <= 0:
        return 0
    at = head & (slots - 1)
    first = min(taken, slots - at)
    copy(array, ring + DATA + (at << 3), first << 3)
    copy(array + (first << 3), ring + DATA, (taken - first) << 3)
    store_release(ring + HEAD, head + taken)
    return taken
