"""SCTP (RFC 9260): header, CRC32c, and which chunks a packet carries."""

from __future__ import annotations

import ctypes

from runtime.intrinsics import crc32c_byte, crc32c_word, load8, load32, load64, store32
from runtime.jit import compiled
from runtime.pointers import view

SCTP_LEN = 12
CHUNK_LEN = 4
CHECK_AT = 8

POLYNOMIAL = 0x82F63B78  # of CRC32c; the lowest bit is that of the highest power
BLOCK_SHIFT = 11  # blocks of 2048 bytes

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
def multiply(a, b):
    """Product of two CRC32c states as polynomials, modulo the CRC's."""
    product = 0
    for _ in range(32):
        product ^= b & -(a >> 31)
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ (POLYNOMIAL & -(b & 1))
    return product


def _power(bits: int) -> int:
    """x to the power of ``bits``: what so many zero bits multiply a CRC32c state by."""
    state = 1 << 31
    for _ in range(bits):
        state = (state >> 1) ^ (POLYNOMIAL if state & 1 else 0)
    return state


ZERO_BLOCK = _power(8 << BLOCK_SHIFT)


@compiled
def over_zeros(crc, size):
    """Go on with the CRC32c state ``crc`` over ``size`` zero bytes.

    The time is bounded: of long runs only the last part is gone through, blocks are multiplied.
    """
    rest = size & ((1 << BLOCK_SHIFT) - 1)
    while rest >= 8:
        crc = crc32c_word(crc, 0)
        rest -= 8
    while rest > 0:
        crc = crc32c_byte(crc, 0)
        rest -= 1
    blocks = size >> BLOCK_SHIFT
    power = ZERO_BLOCK
    while blocks > 0:
        if blocks & 1:
            crc = multiply(crc, power)
        power = multiply(power, power)
        blocks >>= 1
    return crc


@compiled
def change_in_checksum(old, new, length):
    """Bits that turn over in the checksum field of a packet of ``length`` bytes when the word of
    its ports, as loaded, changes from ``old`` to ``new``.

    A CRC is linear: the checksums of two packets differ by that of their difference, which is
    zero behind the ports.  No byte of the packet is needed, and a damaged one stays damaged.
    """
    return over_zeros(old ^ new, length)


@compiled
def change_ports(l4, ports, length):
    """Store the raw word ``ports``; the checksum of the packet of ``length`` bytes by difference.

    Of the packet only its header need be here.
    """
    old = load32(l4)
    if old != ports:
        store32(l4, ports)
        store32(l4 + CHECK_AT, load32(l4 + CHECK_AT) ^ change_in_checksum(old, ports, length))
    return 0


@compiled
def first_chunk(l4, here, length):
    """Type of the first chunk, or -1 when it does not fit the ``length`` bytes of the packet.

    ``here``: how many of them are in this fragment.  A cookie bundled with an ABORT counts as the
    ABORT.
    """
    if here < SCTP_LEN + CHUNK_LEN:
        return -1
    c = Chunk(l4 + SCTP_LEN)
    size = c.length
    if size < CHUNK_LEN or SCTP_LEN + size > length:
        return -1
    kind = c.type
    if kind != COOKIE_ECHO and kind != COOKIE_ACK:
        return kind
    at = SCTP_LEN + ((size + 3) & ~3)
    bundled = at + CHUNK_LEN <= here and Chunk(l4 + at).type == ABORT
    return ABORT if bundled else kind
