"""Byte-record ring between two processes: ``ByteRing`` for ordinary Python.

Compiled code calls the functions of runtime/ring_core.py (also named here) with the address of
the ring; both work on the same block of memory.
"""

from __future__ import annotations

import ctypes

from runtime import ring_core
from runtime.ring_core import pending, push


class RingCorrupt(Exception):
    """What stands in the ring cannot have been written by a producer; the text says where."""


class RingTooLong(ValueError):
    """A record is longer than the ring can ever take."""


def ring_bytes(capacity: int) -> int:
    """Bytes of memory for a ring of ``capacity`` data bytes; ValueError for a bad capacity."""
    least, most = ring_core.MIN_CAPACITY, ring_core.MAX_CAPACITY
    if not least <= capacity <= most or capacity & (capacity - 1):
        raise ValueError(f"ring capacity {capacity}: must be a power of two from {least} to {most}")
    return ring_core.DATA + capacity


def initialise(address: int, capacity: int) -> None:
    """Make an empty ring at ``address`` (``ring_bytes(capacity)`` bytes); nobody may use it yet."""
    ring_bytes(capacity)
    if address <= 0 or address & 7:
        raise ValueError(f"ring address {address:#x} is not 8-byte aligned")
    header = ring_core.RingHeader.from_address(address)
    ctypes.memset(address, 0, ctypes.sizeof(header))
    header.capacity = capacity
    header.magic = ring_core.MAGIC


class ByteRing:
    """One end (or both) of a ring at ``address``, made by ``initialise``.

    One process or thread pushes, one pops.  ``memory`` is whatever must live as long as the block
    (a buffer, a Segment).  Raises RingCorrupt when there is no ring.  An empty ring is false:
    compare with None where that matters.
    """

    def __init__(self, address: int, memory: object = None) -> None:
        self.address = address
        self._memory = memory
        self._header = ring_core.RingHeader.from_address(address)
        self.capacity: int = self._header.capacity
        """Data bytes of the block."""
        if self._header.magic != ring_core.MAGIC:
            raise RingCorrupt(f"no ring at {address:#x}")
        try:
            ring_bytes(self.capacity)
        except ValueError as problem:
            raise RingCorrupt(f"ring at {address:#x}: {problem}") from None
        self.max_record = self.capacity // 2 - 4
        """Longest payload in bytes."""
        # Copies through a memory view: quicker than ctypes calls, and checked against the block.
        block = ctypes.c_uint8 * ring_bytes(self.capacity)
        self._block = memoryview(block.from_address(address)).cast("B")

    @classmethod
    def create(cls, address: int, capacity: int, memory: object = None) -> ByteRing:
        """Initialise a ring at ``address`` and open it; ValueError for a bad capacity."""
        initialise(address, capacity)
        return cls(address, memory)

    def _check(self) -> None:
        # The compiled functions take the capacity from memory: it bounds every access.
        if self._header.capacity != self.capacity:
            raise RingCorrupt(f"ring at {self.address:#x}: its capacity has been overwritten")

    def push(self, data: bytes) -> bool:
        """Append a record; False when the ring is full now.

        Raises RingTooLong for a record that can never fit, RingCorrupt for a damaged ring.
        """
        self._check()
        length = len(data)
        place = ring_core.reserve(self.address, length)
        if place == ring_core.FULL:
            return False
        if place == ring_core.TOO_LONG:
            raise RingTooLong(f"record of {length} bytes, the ring takes {self.max_record}")
        if place == ring_core.CORRUPT:
            raise RingCorrupt(f"ring at {self.address:#x}: impossible read position")
        offset = place - self.address
        self._block[offset : offset + length] = data
        ring_core.commit(self.address, length)
        return True

    def pop(self) -> bytes | None:
        """Take the oldest record; None when there is none; RingCorrupt for a damaged ring."""
        self._check()
        record = ring_core.peek(self.address)
        if record == ring_core.EMPTY:
            return None
        if record < 0:
            raise RingCorrupt(f"ring at {self.address:#x}: impossible record length or position")
        # The handle of ring_core.peek: offset in the block and length, both checked there.
        offset = record >> 32
        data = bytes(self._block[offset : offset + (record & 0xFFFFFFFF)])
        ring_core.pop(self.address, record)
        return data

    def pending(self) -> bool:
        """Whether a record waits (for the consumer)."""
        return bool(ring_core.pending(self.address))

    def discard(self) -> bool:
        """Consumer: drop everything that waits.  False when only ``initialise`` could repair it."""
        self._check()
        return bool(ring_core.discard(self.address))

    def __len__(self) -> int:
        """Records that wait, as counted by both sides (exact when they are at rest)."""
        return max(0, self._header.pushed - self._header.popped)


__all__ = ["ByteRing", "RingCorrupt", "RingTooLong", "initialise", "pending", "push", "ring_bytes"]
