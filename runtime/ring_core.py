"""Lockless ring of byte records: one producer, one consumer, any two processes or threads.

The ring lives in a memory block at any 8-byte aligned address.  Positions count bytes for ever
(63 bits never wrap); ``tail`` is written only by the producer and ``head`` only by the consumer,
each with release order on cache lines of its own, so a side that dies in the middle of an
operation has published nothing.  A record is a 4-byte length and the payload, padded to 8 bytes
and never split: where it does not fit before the end, a wrap marker sends the reader to offset 0.

The reader believes nothing it reads: a length or a position that cannot be is CORRUPT, not an
access outside the block.
"""

from __future__ import annotations

import ctypes

from runtime.intrinsics import copy, load32, load64, load_acquire, store32, store_release
from runtime.jit import compiled
from runtime.pointers import view


class RingHeader(ctypes.Structure):
    """Head of the block; 128 bytes apart, because processors prefetch cache lines in pairs."""

    _fields_ = [
        ("magic", ctypes.c_int64),
        ("capacity", ctypes.c_int64),
        ("_line0", ctypes.c_int64 * 14),
        ("tail", ctypes.c_int64),
        ("pushed", ctypes.c_int64),
        ("_line1", ctypes.c_int64 * 14),
        ("head", ctypes.c_int64),
        ("popped", ctypes.c_int64),
        ("_line2", ctypes.c_int64 * 14),
    ]


Ring = view(RingHeader)
MAGIC = int.from_bytes(b"DPVSRNG1", "little")
TAIL = Ring.offset("tail")
HEAD = Ring.offset("head")
DATA = ctypes.sizeof(RingHeader)
WRAP = 0xFFFFFFFF
MIN_CAPACITY = 64
MAX_CAPACITY = 1 << 30

FULL = 0
EMPTY = 0
TOO_LONG = -1
CORRUPT = -2


@compiled
def pending(ring):
    """1 when a record waits at the ring at address ``ring``, else 0: for the consumer's loop."""
    return 1 if load_acquire(ring + TAIL) != load64(ring + HEAD) else 0


@compiled
def reserve(ring, length):
    """Producer: address for a payload of ``length`` bytes; FULL, TOO_LONG or CORRUPT (<= 0).

    Nothing is visible to the consumer before ``commit``.
    """
    r = Ring(ring)
    capacity = r.capacity
    # Half the block: such a record fits an empty ring wherever the tail happens to stand.
    if length < 0 or length > (capacity >> 1) - 4:
        return TOO_LONG
    tail = r.tail
    used = tail - load_acquire(ring + HEAD)
    if used < 0 or used > capacity or ((tail | used) & 7) != 0:
        return CORRUPT
    need = (length + 11) & ~7
    offset = tail & (capacity - 1)
    to_end = capacity - offset
    if need > to_end:
        offset = 0
        need += to_end
    if used + need > capacity:
        return FULL
    return ring + DATA + offset + 4


@compiled
def commit(ring, length):
    """Producer: publish the record that ``reserve`` with the same ``length`` gave room for."""
    r = Ring(ring)
    tail = r.tail
    need = (length + 11) & ~7
    offset = tail & (r.capacity - 1)
    to_end = r.capacity - offset
    if need > to_end:
        store32(ring + DATA + offset, WRAP)
        tail += to_end
        offset = 0
    store32(ring + DATA + offset, length)
    r.pushed = r.pushed + 1
    return store_release(ring + TAIL, tail + need)


@compiled
def push(ring, data, length):
    """Producer: append ``length`` bytes from address ``data``; 1, or FULL, TOO_LONG, CORRUPT."""
    place = reserve(ring, length)
    if place <= 0:
        return place
    copy(place, data, length)
    commit(ring, length)
    return 1


@compiled
def peek(ring):
    """Consumer: the oldest record as a handle (> 0), EMPTY (0) or CORRUPT (< 0).

    The handle holds the checked place and length: see ``record_address`` and ``record_length``.
    The bytes stay valid until ``pop``.
    """
    r = Ring(ring)
    capacity = r.capacity
    head = r.head
    used = load_acquire(ring + TAIL) - head
    if used == 0:
        return EMPTY
    if used < 0 or used > capacity or ((head | used) & 7) != 0:
        return CORRUPT
    offset = head & (capacity - 1)
    length = load32(ring + DATA + offset)
    room = capacity - offset
    if length == WRAP:
        used -= room
        room = capacity
        offset = 0
        if used <= 0:
            return CORRUPT
        length = load32(ring + DATA)
    need = (length + 11) & ~7
    if need > used or need > room:
        return CORRUPT
    return ((DATA + offset + 4) << 32) | length


@compiled
def record_address(ring, record):
    """Address of the payload of a handle from ``peek``."""
    return ring + (record >> 32)


@compiled
def record_length(record):
    """Payload bytes of a handle from ``peek``."""
    return record & 0xFFFFFFFF


@compiled
def pop(ring, record):
    """Consumer: free the record of the handle that ``peek`` returned last."""
    r = Ring(ring)
    head = r.head
    place = head & (r.capacity - 1)
    offset = (record >> 32) - DATA - 4
    if offset != place:
        head += r.capacity - place
    r.popped = r.popped + 1
    return store_release(ring + HEAD, head + (((record & 0xFFFFFFFF) + 11) & ~7))


@compiled
def discard(ring):
    """Consumer: drop all that waits, for going on after CORRUPT.

    1 when the ring works again; 0 when the producer's position itself is damaged.
    """
    r = Ring(ring)
    tail = load_acquire(ring + TAIL)
    r.popped = r.pushed
    store_release(ring + HEAD, tail)
    return 1 if tail >= 0 and (tail & 7) == 0 else 0
