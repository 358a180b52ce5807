"""Building the Maglev table, outside the packet path: the master builds it, workers swap it in.

Each server walks its own permutation of the slots and takes the first free one, in turn and as
often per round as its weight asks.  A server that goes leaves its slots to the others; nearly all
other slots keep their server.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

from ipvs.maglev import KEY_PLACE, KEY_STEP, SLOTS, sip13, swapped

# A round's turns are shifted down until the heaviest server has no more than 64.
TURN_BITS = 6


class Server(NamedTuple):
    """A real server: its id, address (raw, folded to 32 bits), port and weight."""

    id: int
    address: int
    port: int
    weight: int


def _turns(servers: Sequence[Server]) -> list[int]:
    step = math.gcd(*(server.weight for server in servers)) or 1
    shift = max(0, (max(s.weight for s in servers) // step).bit_length() - TURN_BITS)
    return [max(1, (s.weight // step) >> shift) if s.weight > 0 else 0 for s in servers]


def maglev_table(servers: Sequence[Server]) -> bytes:
    """The table of these servers (weights not negative), newest first; the layout is Maglev's."""
    slots = [0] * SLOTS
    walkers = []
    for server, turns in zip(servers, _turns(servers) if servers else (), strict=True):
        number = (swapped(server.address) + server.port) & 0xFFFFFFFF
        place, step = sip13(number, KEY_PLACE) % SLOTS, sip13(number, KEY_STEP) % (SLOTS - 1) + 1
        if turns:
            walkers.append([place, step, turns, server.id + 1])
    left = SLOTS if walkers else 0
    while left:
        for walker in walkers:
            at, step, turns, name = walker
            for _ in range(min(turns, left)):
                while slots[at]:
                    at = (at + step) % SLOTS
                slots[at] = name
                left -= 1
            walker[0] = at
            if not left:
                break
    return struct.pack(f"<I{SLOTS}H", SLOTS, *slots)
