"""Building the ring of conhash, outside the packet path: the master builds it.

A server of the smallest weight gets 160 points, heavier ones in proportion.  A server that goes
takes only its own points along, so only its own clients move.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from ipvs.conhash import HEAD, mix

REPLICAS = 160
# A ring travels to the workers in one message.  Where it would have more points, every server
# gets fewer of them in proportion (the reference has no limit).
MAX_POINTS = 40_000

_SINES = [int(abs(math.sin(i + 1)) * 2**32) for i in range(64)]
_TURNS = [row[i % 4] for row in ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
          for i in range(16)]  # fmt: skip
_WORDS = [
    *range(16),
    *((5 * i + 1) % 16 for i in range(16)),
    *((3 * i + 5) % 16 for i in range(16)),
    *(7 * i % 16 for i in range(16)),
]


class Server(NamedTuple):
    """A real server: id, address as text, port, weight (not negative)."""

    id: int
    address: str
    port: int
    weight: int


def place(text: str) -> int:
    """Place of a text on the ring, as a signed number."""
    return int(mix(sum(struct.unpack("<4I", hashlib.md5(text.encode()).digest()))))


@lru_cache(maxsize=8192)
def _points(address: str, port: int, count: int) -> tuple[int, ...]:
    # The reference writes the port as the host reads the network's bytes.
    turned = struct.unpack("<H", struct.pack(">H", port))[0]
    return tuple(place(f"{address}{turned}-{index:03d}") for index in range(count))


def replicas(weights: Sequence[int]) -> list[int]:
    """How many points each server gets."""
    step = math.gcd(*weights) or 1
    counts = [weight // step * REPLICAS for weight in weights]
    total = sum(counts)
    if total > MAX_POINTS:
        counts = [max(1, count * MAX_POINTS // total) if count else 0 for count in counts]
    return counts


def conhash_ring(servers: Sequence[Server]) -> bytes:
    """The ring of these servers; the layout is that of ipvs/conhash.py."""
    owner: dict[int, int] = {}
    counts = replicas([server.weight for server in servers]) if servers else []
    for server, count in zip(servers, counts, strict=True):
        for point in _points(server.address, server.port, count):
            owner.setdefault(point, server.id)
    ordered = sorted(owner)
    head = struct.pack("<II64I64B64B", len(ordered), 0, *_SINES, *_TURNS, *_WORDS)
    points = struct.pack(f"<{len(ordered)}q", *ordered)
    owners = struct.pack(f"<{len(ordered)}H", *(owner[point] for point in ordered))
    return head.ljust(HEAD, b"\0") + points + owners
