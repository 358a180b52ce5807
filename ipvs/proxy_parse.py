"""The PROXY header a client sent in front of its data: how long it is and whom it names."""

from __future__ import annotations

from ipvs.proxy_header import LONGEST, SIGNATURE_HIGH, SIGNATURE_LOW, V1, V2
from ipvs.proxy_text import BLANK, read_address6, read_number, read_quad
from runtime.intrinsics import load8, load16, load32, load64, store8
from runtime.jit import compiled

# What a found header is: its length, its version << 16, and WITH_ADDRESSES when it names ends.
VERSION_AT = 16
WITH_ADDRESSES = 1 << 20
WIDE_ADDRESSES = 1 << 21
HEADER2 = 16


@compiled
def find_v2(at, size):
    """A complete version 2 header in front of ``size`` bytes; 0 if there is none."""
    if size < HEADER2 or load64(at) != SIGNATURE_LOW | (0x51 << 56):
        return 0
    if load32(at + 8) != SIGNATURE_HIGH or load8(at + 12) >> 1 != 0x10:
        return 0
    length = HEADER2 + (load8(at + 14) << 8) + load8(at + 15)
    if length > size:
        return 0
    found = length | (V2 << VERSION_AT)
    family = load8(at + 13) >> 4
    if load8(at + 12) & 1 == 0:
        return found  # LOCAL: it names nobody
    if family == 1 and length >= HEADER2 + 12:
        return found | WITH_ADDRESSES
    if family == 2 and length >= HEADER2 + 36:
        return found | WITH_ADDRESSES | WIDE_ADDRESSES
    return found


@compiled
def _line(at, size):
    """Length of the line of a version 1 header with its end, or 0."""
    if size > LONGEST:
        size = LONGEST
    for i in range(11, size - 1):
        if load16(at + i) == 0x0A0D:
            return i + 2
    return 0


@compiled
def find_v1(at, size):
    """A complete version 1 header in front of ``size`` bytes; 0 if there is none."""
    if size < 15 or load32(at) != 0x584F5250 or load16(at + 4) != 0x2059:
        return 0
    length = _line(at, size)
    if length == 0:
        return 0
    found = length | (V1 << VERSION_AT)
    word = load32(at + 6)
    if word == 0x34504354 and load8(at + 10) == BLANK:
        return found | WITH_ADDRESSES
    if word == 0x36504354 and load8(at + 10) == BLANK:
        return found | WITH_ADDRESSES | WIDE_ADDRESSES
    return found if word == 0x4E4B4E55 else 0  # UNKNOWN


@compiled
def find_header(at, size):
    """A client's header of either version; 0 if its data begins with none that is whole."""
    found = find_v2(at, size)
    return found if found != 0 else find_v1(at, size)


@compiled
def _read_address(at, wide, to):
    """An address and the blank after it; address behind both, or 0."""
    behind = read_address6(at, to) if wide else read_quad(at, to)
    return behind + 1 if behind != 0 and load8(behind) == BLANK else 0


@compiled
def read_v1(at, wide, to):
    """Ends that a TCP4 line (``wide``: TCP6) names, as in version 2; 1, or 0 if it is malformed.

    They take 12 or 36 bytes.  The caller found the line complete.
    """
    size = 16 if wide else 4
    behind = _read_address(at + 11, wide, to)
    if behind != 0:
        behind = _read_address(behind, wide, to + size)
    if behind == 0:
        return 0
    to += 2 * size
    for i in range(2):
        got = read_number(behind, 65535)
        if got == 0:
            return 0
        store8(to + 2 * i, got >> 11)
        store8(to + 2 * i + 1, (got >> 3) & 0xFF)
        behind += got & 7
        if load8(behind) != (BLANK if i == 0 else 13):
            return 0
        behind += 1
    return 1
