"""The PROXY header (HAProxy's protocol, versions 1 and 2): writing one.

Ends are given as addresses of their bytes in network order, wherever they stand: in a packet's
headers, or in the header a client sent.
"""

from __future__ import annotations

from runtime.intrinsics import copy, load8, store8, store16, store32, store64
from runtime.jit import compiled

V1, V2 = 1, 2
SIGNATURE_LOW = 0x0A0D000A0D0A0D  # "\r\n\r\n\0\r\n", as loaded with the "Q" behind it
SIGNATURE_HIGH = 0x0A544955  # "UIT\n"
STREAM, DATAGRAM = 1, 2
LONGEST = 107  # bytes of a version 1 line


@compiled
def put_decimal(at, value):
    """Digits of a number below 65536 at ``at``; address behind them."""
    if value >= 10000:
        store8(at, 48 + value // 10000)
        at += 1
    if value >= 1000:
        store8(at, 48 + value // 1000 % 10)
        at += 1
    if value >= 100:
        store8(at, 48 + value // 100 % 10)
        at += 1
    if value >= 10:
        store8(at, 48 + value // 10 % 10)
        at += 1
    store8(at, 48 + value % 10)
    return at + 1


@compiled
def put_address4(at, address):
    """Dotted text of the four bytes at ``address``."""
    for i in range(4):
        if i > 0:
            store8(at, 46)
            at += 1
        at = put_decimal(at, load8(address + i))
    return at


@compiled
def _group(address, index):
    return (load8(address + 2 * index) << 8) | load8(address + 2 * index + 1)


@compiled
def _digit(at, value):
    store8(at, 48 + value if value < 10 else 87 + value)
    return at + 1


@compiled
def _put_hex(at, value):
    if value >= 0x1000:
        at = _digit(at, value >> 12)
    if value >= 0x100:
        at = _digit(at, (value >> 8) & 15)
    if value >= 0x10:
        at = _digit(at, (value >> 4) & 15)
    return _digit(at, value & 15)


@compiled
def _longest_zeros(address):
    """First group * 16 + length of the longest run of two or more zero groups; 0 for none."""
    best = 0
    run = 0
    for i in range(8):
        run = run + 1 if _group(address, i) == 0 else 0
        if run >= 2 and run > best & 15:
            best = (i - run + 1) * 16 + run
    return best


@compiled
def put_address6(at, address):
    """Text of the sixteen bytes at ``address`` (RFC 5952 4; no dotted quads)."""
    zeros = _longest_zeros(address)
    begin = zeros >> 4
    end = begin + (zeros & 15)
    for i in range(8):
        if begin <= i < end:
            if i == begin:
                store8(at, 58)
                store8(at + 1, 58)
                at += 2
        else:
            if i > 0 and (zeros == 0 or i != end):
                store8(at, 58)
                at += 1
            at = _put_hex(at, _group(address, i))
    return at


@compiled
def _put_address(at, wide, address):
    if wide:
        return put_address6(at, address)
    return put_address4(at, address)


@compiled
def write_v1(at, wide, src, dst, ports):
    """``PROXY TCP4 source destination sport dport``; returns its length with the line end."""
    store32(at, 0x584F5250)  # "PROX"
    store64(at + 4, 0x0020345043542059)  # "Y TCP4 "
    if wide:
        store8(at + 9, 54)
    to = _put_address(at + 11, wide, src)
    store8(to, 32)
    to = _put_address(to + 1, wide, dst)
    store8(to, 32)
    to = put_decimal(to + 1, _group(ports, 0))
    store8(to, 32)
    to = put_decimal(to + 1, _group(ports, 1))
    store16(to, 0x0A0D)
    return to + 2 - at


@compiled
def write_v2(at, wide, transport, src, dst, ports):
    """The binary header; returns its length, 28 or 52."""
    size = 16 if wide else 4
    store64(at, SIGNATURE_LOW | (0x51 << 56))
    store32(at + 8, SIGNATURE_HIGH)
    store8(at + 12, 0x21)
    store8(at + 13, (0x20 if wide else 0x10) | transport)
    store8(at + 14, 0)
    store8(at + 15, 2 * size + 4)
    copy(at + 16, src, size)
    copy(at + 16 + size, dst, size)
    copy(at + 16 + 2 * size, ports, 4)
    return 20 + 2 * size
