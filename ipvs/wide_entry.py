"""Connections with IPv6 on a side take two slots; here is what the first one holds.

The second slot is an ordinary entry, so index, wheel and expiry need not know: for an IPv6 side,
``addresses`` holds a keyed digest of the 32 address bytes, and bit 40 of ``ports`` says so (the
families never match each other).  The addresses themselves lie in the last line of the first slot,
right before the entry, and are compared in full before a packet is taken for the connection's.  The
line that ``live`` would be in stays unused: half of a pair never looks like a connection.
"""

from __future__ import annotations

import ctypes

from runtime.intrinsics import load64, mum
from runtime.jit import inlined
from runtime.pointers import view
from stack.headers import IP6_SRC

SIX = 1 << 40  # in ``ports``: this side's addresses are IPv6


class WideSideStruct(ctypes.Structure):
    """How packets arrive on one side: source and destination as on the wire, in raw halves."""

    _fields_ = [
        ("src_high", ctypes.c_int64),
        ("src_low", ctypes.c_int64),
        ("dst_high", ctypes.c_int64),
        ("dst_low", ctypes.c_int64),
    ]


class WideStruct(ctypes.Structure):
    """The line before the entry of a wide connection."""

    _fields_ = [("side", WideSideStruct * 2)]


WideSide = view(WideSideStruct)
Wide = view(WideStruct)
WIDE_AT = -64  # of a WideStruct, from the entry
WIDE_SIDE = ctypes.sizeof(WideSideStruct)
if ctypes.sizeof(WideStruct) != -WIDE_AT:
    raise AssertionError("the addresses do not fill the line before the entry")


@inlined
def digest(seed, at):
    """Keyed digest of the 32 address bytes at ``at``, never 0; ``seed``: see ipvs/index.py."""
    source = mum(load64(at) ^ load64(seed + 16), load64(at + 8) ^ load64(seed + 24))
    target = mum(load64(at + 16) ^ load64(seed + 32), load64(at + 24) ^ load64(seed + 40))
    return (source ^ target) | 1


@inlined
def same_addresses(a, b):
    """1 when the 32 bytes at both places are equal."""
    high = (load64(a) ^ load64(b)) | (load64(a + 8) ^ load64(b + 8))
    low = (load64(a + 16) ^ load64(b + 16)) | (load64(a + 24) ^ load64(b + 24))
    return 1 if (high | low) == 0 else 0


@inlined
def is_between(l3, entry, side):
    """1 when an IPv6 packet has the addresses of those that arrive on a side of a connection."""
    return same_addresses(l3 + IP6_SRC, entry + WIDE_AT + side * WIDE_SIDE)
