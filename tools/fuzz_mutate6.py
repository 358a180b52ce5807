"""Mutations of IPv6 frames; most with the upper-layer checksum made right again."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tools.fuzz_frames6 import LINK, ODD6, OURS6, SCTP, SUM_AT, with_sum
from tools.fuzz_mutate import (
    ROOM,
    _extend,
    _flip,
    _macs,
    _noise,
    _put,
    _truncate,
    repair_sctp,
)

Random = random.Random
NEXT = (0, 43, 44, 50, 51, 58, 59, 60, 6, 17, 41, 132, 135)


def _length(frame: bytearray, rng: Random) -> None:
    near = max(0, len(frame) - 54 + rng.randrange(-30, 3))
    _put(frame, 18, struct.pack(">H", rng.choice((0, 7, 8, 0xFFFF, near, near, near))))


def _next(frame: bytearray, rng: Random) -> None:
    _put(frame, rng.choice((20, 20, 54)), bytes([rng.choice((*NEXT, rng.randrange(256)))]))


def _hops(frame: bytearray, rng: Random) -> None:
    _put(frame, 21, bytes([rng.choice((0, 1, 2, 254, 255))]))


def _version(frame: bytearray, rng: Random) -> None:
    _put(frame, 14, bytes([rng.randrange(256)]))


def _address(frame: bytearray, rng: Random) -> None:
    if rng.random() < 0.2:
        _put(frame, 22, bytes(frame[38:54]))  # to itself
        return
    _put(frame, rng.choice((22, 38, 62)), rng.choice((*OURS6, *ODD6, *LINK, rng.randbytes(16))))


def _content(frame: bytearray, rng: Random) -> None:
    """A byte of the first headers behind the fixed one: types, lengths, codes, options."""
    at = 54 + rng.randrange(34)
    _put(frame, at, bytes([rng.choice((0, 1, 2, 0xFF, 0x80, rng.randrange(256)))]))


def _header(frame: bytearray, rng: Random) -> None:
    """One more extension header in front, its length perhaps a lie."""
    if len(frame) < 54:
        return
    size = rng.choice((0, 0, 1, 2, 31, 255))
    frame[54:54] = bytes([frame[20], size]) + rng.randbytes(6)
    frame[20] = rng.choice(NEXT[:5] + (60,))
    total = struct.unpack(">H", frame[18:20])[0] + 8
    frame[18:20] = struct.pack(">H", total & 0xFFFF)


MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    *(_truncate, _extend, _flip, _macs, _noise, _length, _next, _hops, _version),
    *(_address, _content, _content, _content, _header, _header, _length),
)


def repair6(frame: bytearray) -> None:
    """Make the checksum of what directly follows the fixed header right, if it has one."""
    if len(frame) < 54:
        return
    end = 54 + struct.unpack(">H", frame[18:20])[0]
    if frame[20] == SCTP:
        repair_sctp(frame, 54, end)
    at = SUM_AT.get(frame[20])
    if at is not None and 54 + at + 2 <= end <= len(frame):
        src, dst, body = bytes(frame[22:38]), bytes(frame[38:54]), bytes(frame[54:end])
        frame[54:end] = with_sum(src, dst, frame[20], body, at)


def mutate6(frame: bytes, rng: Random) -> bytes:
    """One to four mutations of an IPv6 ``frame``, at most ROOM bytes."""
    changed = bytearray(frame)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        rng.choice(MUTATIONS)(changed, rng)
    if rng.random() < 0.75:
        repair6(changed)
    return bytes(changed[:ROOM])
