"""The memory between the master and one worker: two byte rings, one for each direction."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.ring import ByteRing, initialise, ring_bytes

DEFAULT_CAPACITY = 1 << 20


def _stride(capacity: int) -> int:
    # The second ring begins on a 128-byte boundary, as the first does.
    return (ring_bytes(capacity) + 127) & ~127


def channel_bytes(capacity: int = DEFAULT_CAPACITY) -> int:
    """Bytes of memory for a channel whose rings hold ``capacity`` bytes each (power of two)."""
    return 2 * _stride(capacity)


@dataclass
class Channel:
    """Both rings of one worker.  The master pushes ``to_worker``, the worker ``to_master``."""

    to_worker: ByteRing
    to_master: ByteRing

    @classmethod
    def create(
        cls, address: int, capacity: int = DEFAULT_CAPACITY, memory: object = None
    ) -> Channel:
        """Two empty rings at ``address`` (``channel_bytes(capacity)`` bytes); for the master."""
        second = address + _stride(capacity)
        return cls(
            ByteRing.create(address, capacity, memory), ByteRing.create(second, capacity, memory)
        )

    @classmethod
    def attach(cls, address: int, memory: object = None) -> Channel:
        """The rings that the master made at ``address``; RingCorrupt when there are none."""
        first = ByteRing(address, memory)
        return cls(first, ByteRing(address + _stride(first.capacity), memory))

    def clear(self) -> None:
        """Empty both rings; only while the worker is not running."""
        for ring in (self.to_worker, self.to_master):
            initialise(ring.address, ring.capacity)
