"""conhash: the reference's consistent hashing; the server whose point follows the key's hash.

Key and points are hashed by MD5 of a text (the decimal number of the address, for instance) and a
mixer, exactly as the reference does, so a client keeps its server when a fleet changes over to
us box by box.  MD5 is RFC 1321's; the text always fits one block.
"""

from __future__ import annotations

import ctypes

from ipvs.dest import usable
from ipvs.extra import HASH_QID, Extra
from ipvs.maglev import fold
from ipvs.service import Service
from runtime.intrinsics import (
    load8,
    load64,
    minus,
    mulhi,
    plus,
    shr,
    signed,
    store8,
    store64,
    times,
    wrap,
)
from runtime.jit import compiled
from runtime.pointers import view
from stack.byteorder import swap64
from stack.headers import PROTO_UDP, Udp

MASK = 0xFFFFFFFF
TENTH = signed(0xCCCCCCCCCCCCCCCD)  # 2**67 / 10
M0, M1, M2, M3 = 0x7ED55D16, 0xC761C23C, 0x165667B1, 0xD3A2646C
M4, M5, LAST = 0xFD7046C5, 0xB55A4F09, 3221225473
GQUIC_HAS_ID = 8


class RingStruct(ctypes.Structure):
    """Head of the ring: MD5's constants (compiled code has no tables of its own), scratch space.

    ``size`` sorted 64-bit points follow, then as many 16-bit real server ids, in order.
    """

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("spare", ctypes.c_uint32),
        ("sines", ctypes.c_uint32 * 64),
        ("turns", ctypes.c_uint8 * 64),
        ("words", ctypes.c_uint8 * 64),
        ("block", ctypes.c_uint32 * 16),
        ("text", ctypes.c_uint8 * 24),
    ]


class PointsStruct(ctypes.Structure):
    """Open-ended array of points."""

    _fields_ = [("at", ctypes.c_int64 * 0)]


class OwnersStruct(ctypes.Structure):
    """Open-ended array of the points' real server ids."""

    _fields_ = [("id", ctypes.c_uint16 * 0)]


Ring = view(RingStruct)
Points = view(PointsStruct)
Owners = view(OwnersStruct)
HEAD = ctypes.sizeof(RingStruct)
BLOCK_AT = RingStruct.block.offset
TEXT_AT = RingStruct.text.offset


@compiled
def mix(sum_):
    """The reference's 64-bit mixer behind MD5."""
    a = plus(plus(sum_, M0), wrap(sum_ << 12))
    a = (a ^ M1) ^ shr(a, 19)
    a = plus(plus(a, M2), wrap(a << 5))
    a = plus(a, M3) ^ wrap(a << 9)
    a = plus(plus(a, M4), wrap(a << 3))
    a = (a ^ M5) ^ shr(a, 16)
    return times(a, LAST)


@compiled
def write_decimal(ring, number):
    """Decimal text of an unsigned 64-bit number, right-aligned in ``text``; returns its length."""
    length = 0
    left = number
    for _ in range(20):
        tenth = shr(mulhi(left, TENTH), 3)
        store8(ring + TEXT_AT + 19 - length, 48 + minus(left, times(tenth, 10)))
        length += 1
        left = tenth
        if left == 0:
            break
    return length


@compiled
def md5_sum(ring, length):
    """Sum of the four words of the MD5 of the last ``length`` of the 20 bytes of text."""
    r = Ring(ring)
    for i in range(8):
        store64(ring + BLOCK_AT + i * 8, 0)
    for i in range(length):
        store8(ring + BLOCK_AT + i, load8(ring + TEXT_AT + 20 - length + i))
    store8(ring + BLOCK_AT + length, 0x80)
    r.block[14] = length * 8
    a = 0x67452301
    b = 0xEFCDAB89
    c = 0x98BADCFE
    d = 0x10325476
    for i in range(64):
        if i < 16:
            f = (b & c) | (~b & d)
        elif i < 32:
            f = (d & b) | (~d & c)
        elif i < 48:
            f = b ^ c ^ d
        else:
            f = c ^ (b | (~d & MASK))
        f = (f + a + r.sines[i] + r.block[r.words[i]]) & MASK
        turned = (f << r.turns[i]) | (f >> (32 - r.turns[i]))
        a = d
        d = c
        c = b
        b = (b + turned) & MASK
    first = ((a + 0x67452301) & MASK) + ((b + 0xEFCDAB89) & MASK)
    return first + ((c + 0x98BADCFE) & MASK) + ((d + 0x10325476) & MASK)


@compiled
def hash_number(ring, number):
    """Place of an unsigned 64-bit number on the ring."""
    return mix(md5_sum(ring, write_decimal(ring, number)))


@compiled
def gquic_id(l4):
    """Address of the 8-byte connection id of a gQUIC packet (``l4``: its UDP header), or 0."""
    if l4 != 0 and Udp(l4).length >= 17 and load8(l4 + 8) & GQUIC_HAS_ID:
        return l4 + 9
    return 0


@compiled
def conhash(service, dests, source, proto, l4):
    """Real server id for a source key (raw) or a gQUIC packet's connection id, or -1."""
    extra = Extra(Service(service).extra)
    if extra.table == 0 or extra.table_size == 0:
        return -1
    ring = extra.table
    number = fold(source)
    if extra.flags & HASH_QID and proto == PROTO_UDP:
        at = gquic_id(l4)
        if at != 0:
            number = swap64(load64(at))
    key = hash_number(ring, number)
    points = Points(ring + HEAD)
    low = 0
    high = extra.table_size
    while low < high:
        middle = (low + high) >> 1
        if points.at[middle] < key:
            low = middle + 1
        else:
            high = middle
    if low == extra.table_size:
        low = 0
    chosen = Owners(ring + HEAD + extra.table_size * 8).id[low]
    return chosen if usable(dests, chosen) else -1
