"""SCTP (RFC 9260): header, CRC32c, and which chunks a packet carries."""

from __future__ import annotations

import ctypes

from runtime.intrinsics import crc32c_byte, crc32c_word, load8, load64, store32
from runtime.jit import compiled
from runtime.pointers import view

SCTP_LEN = 12
CHUNK_LEN = 4
CHECK_AT = 8

INIT, INIT_ACK, ABORT, SHUTDOWN, SHUTDOWN_ACK, ERROR = 1, 2, 6, 7, 8, 9
COOKIE_ECHO, COOKIE_ACK, SHUTDOWN_COMPLETE = 10, 11, 14


class SctpStruct(ctypes.BigEndianStructure):
    """Common header, 12 bytes.  The checksum is stored least significant byte first."""

    _pack_ = 1
    _fields_ = [
        ("sport", ctypes.c_uint16),
        ("dport", ctypes.c_uint16),
        ("tag", ctypes.c_uint32),
        ("check", ctypes.c_uint32),
    ]


class ChunkStruct(ctypes.BigEndianStructure):
    """Head of a chunk, 4 bytes; ``length`` counts it, but not the padding to 4 bytes."""

    _pack_ = 1
    _fields_ = [
        ("type", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("length", ctypes.c_uint16),
    ]


Sctp = view(SctpStruct)
Chunk = view(ChunkStruct)


@compiled
def crc32c(crc, at, size):
    """Go on with the CRC32c state ``crc`` over ``size`` bytes."""
    end = at + size
    while at + 8 <= end:
        crc = crc32c_word(crc, load64(at))
        at += 8
    while at < end:
        crc = crc32c_byte(crc, load8(at))
        at += 1
    return crc


@compiled
def checksum(l4, length):
    """What the checksum field of a packet of ``length`` bytes (12 at least) must hold, as loaded.

    It is computed with the field itself zero (RFC 9260 appendix A).
    """
    crc = crc32c(0xFFFFFFFF, l4, CHECK_AT)
    for _ in range(4):
        crc = crc32c_byte(crc, 0)
    crc = crc32c(crc, l4 + SCTP_LEN, length - SCTP_LEN)
    return crc ^ 0xFFFFFFFF


@compiled
def set_checksum(l4, length):
    """Store the right checksum."""
    store32(l4 + CHECK_AT, checksum(l4, length))
    return 0


@compiled
def first_chunk(l4, length):
    """Type of the first chunk, or -1 when it does not fit ``length`` bytes of packet.

    A cookie bundled with an ABORT counts as the ABORT.
    """
    if length < SCTP_LEN + CHUNK_LEN:
        return -1
    c = Chunk(l4 + SCTP_LEN)
    size = c.length
    if size < CHUNK_LEN or SCTP_LEN + size > length:
        return -1
    kind = c.type
    if kind != COOKIE_ECHO and kind != COOKIE_ACK:
        return kind
    at = SCTP_LEN + ((size + 3) & ~3)
    bundled = at + CHUNK_LEN <= length and Chunk(l4 + at).type == ABORT
    return ABORT if bundled else kind
