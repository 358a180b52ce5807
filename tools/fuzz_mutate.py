"""Mutations of frames: lengths, bits, fields, options; most with the IP checksum made right again.

A mutation that breaks the checksum never reaches the code behind it, so three in four repair it.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tools.crc32c import checked
from tools.fuzz_frames import ODD, OURS, checksum

Random = random.Random
ROOM = 2048  # data bytes an mbuf of the fuzzer holds
EDGES = (0, 1, 0x7F, 0x80, 0xFF)


def _truncate(frame: bytearray, rng: Random) -> None:
    del frame[rng.randrange(len(frame) + 1) :]


def _extend(frame: bytearray, rng: Random) -> None:
    frame += rng.randbytes(rng.choice((1, 6, 18, 60, 1400)))


def _flip(frame: bytearray, rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if frame:
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)


def _head_byte(frame: bytearray, rng: Random) -> None:
    if frame:
        at = rng.randrange(min(len(frame), 60))
        frame[at] = rng.choice((*EDGES, rng.randrange(256)))


def _put(frame: bytearray, at: int, data: bytes) -> None:
    if len(frame) >= at + len(data):
        frame[at : at + len(data)] = data


def _total(frame: bytearray, rng: Random) -> None:
    near = max(0, len(frame) - 14 + rng.randrange(-30, 3))
    _put(frame, 16, struct.pack(">H", rng.choice((0, 19, 20, 27, 28, 0xFFFF, near, near, near))))


def _header_length(frame: bytearray, rng: Random) -> None:
    _put(frame, 14, bytes([rng.choice((0x40, 0x44, 0x45, 0x46, 0x4F, 0x65, rng.randrange(256)))]))


def _fragment(frame: bytearray, rng: Random) -> None:
    _put(frame, 20, struct.pack(">H", rng.choice((0x2000, 1, 0x1FFF, 0x8000, rng.getrandbits(16)))))


def _ttl(frame: bytearray, rng: Random) -> None:
    _put(frame, 22, bytes([rng.choice((0, 1, 2, 255))]))


def _protocol(frame: bytearray, rng: Random) -> None:
    _put(frame, 23, bytes([rng.choice((1, 6, 17, 132, rng.randrange(256)))]))


def _address(frame: bytearray, rng: Random) -> None:
    at = rng.choice((26, 30))
    if rng.random() < 0.2:
        _put(frame, 26, bytes(frame[30:34]))  # to itself
    else:
        _put(frame, at, struct.pack(">I", rng.choice((*OURS, *ODD, rng.getrandbits(32)))))


def _ports(frame: bytearray, rng: Random) -> None:
    port = rng.choice((0, 80, 0xFFFF, 1025, rng.getrandbits(16)))
    _put(frame, rng.choice((34, 36)), struct.pack(">H", port))


def _chunk(frame: bytearray, rng: Random) -> None:
    """Type, flags or length of an SCTP packet's first chunk."""
    _put(frame, 46 + rng.randrange(4), bytes([rng.choice((*EDGES, rng.randrange(16)))]))


def _flags(frame: bytearray, rng: Random) -> None:
    _put(frame, 47, bytes([rng.randrange(256)]))


def _offset(frame: bytearray, rng: Random) -> None:
    _put(frame, 46, bytes([rng.randrange(16) << 4]))


def _udp_length(frame: bytearray, rng: Random) -> None:
    near = max(0, len(frame) - 34 + rng.randrange(-12, 4))
    _put(frame, 38, struct.pack(">H", rng.choice((0, 7, 8, 0xFFFF, near, near))))


def _options(frame: bytearray, rng: Random) -> None:
    """Garbage options in front of the transport header, lengths kept consistent."""
    if len(frame) < 34 or frame[14] >> 4 != 4:
        return
    words = rng.randrange(1, 11)
    data = bytes(rng.choice((0, 1, 7, 68, 131, 137, 148, 3, 4, 255)) for _ in range(words * 4))
    frame[34:34] = data
    frame[14] = 0x45 + words
    total = struct.unpack(">H", frame[16:18])[0] + len(data)
    frame[16:18] = struct.pack(">H", total & 0xFFFF)


def _macs(frame: bytearray, rng: Random) -> None:
    kinds = (b"\xff" * 6, b"\x01\x00\x5e\x00\x00\x01", bytes(6), rng.randbytes(6))
    _put(frame, rng.choice((0, 6, 6, 22)), rng.choice(kinds))


def _ether_type(frame: bytearray, rng: Random) -> None:
    _put(frame, 12, rng.choice((b"\x08\x00", b"\x08\x06", b"\x86\xdd", rng.randbytes(2))))


def _noise(frame: bytearray, rng: Random) -> None:
    frame[14:] = rng.randbytes(rng.randrange(100))


MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    *(_truncate, _extend, _flip, _head_byte, _total, _header_length, _fragment, _ttl),
    *(_protocol, _address, _ports, _flags, _offset, _udp_length, _options, _macs),
    *(_ether_type, _noise, _flags, _ports, _total, _truncate, _chunk),
)


def repair(frame: bytearray) -> None:
    """Make the checksums of an IPv4 header and of a whole SCTP packet right, if they are there."""
    if len(frame) < 34:
        return
    size = (frame[14] & 15) * 4
    if size < 20 or 14 + size > len(frame):
        return
    frame[24:26] = b"\0\0"
    frame[24:26] = struct.pack(">H", checksum(bytes(frame[14 : 14 + size])))
    end = 14 + struct.unpack(">H", frame[16:18])[0]
    if frame[23] == 132 and not frame[20] & 0x3F and not frame[21]:
        repair_sctp(frame, 14 + size, end)


def repair_sctp(frame: bytearray, begin: int, end: int) -> None:
    """Make the checksum of an SCTP packet right, if its header is there."""
    if begin + 12 <= end <= len(frame):
        frame[begin:end] = checked(bytes(frame[begin:end]))


def mutate(frame: bytes, rng: Random) -> bytes:
    """One to four mutations of ``frame``, at most ROOM bytes."""
    changed = bytearray(frame)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        rng.choice(MUTATIONS)(changed, rng)
    if rng.random() < 0.75:
        repair(changed)
    return bytes(changed[:ROOM])
