"""Byte order of plain integers; header fields have theirs in stack/headers.py."""

from __future__ import annotations

from runtime.intrinsics import shr, wrap
from runtime.jit import compiled


@compiled
def swap16(value):
    """Byte-swap a 16-bit number."""
    return ((value & 0xFF) << 8) | (value >> 8)


@compiled
def swap32(value):
    """Byte-swap a 32-bit number."""
    return (swap16(value & 0xFFFF) << 16) | swap16(value >> 16)


@compiled
def swap64(raw):
    """Byte order of a 64-bit number turned around."""
    a = (shr(raw, 8) & 0x00FF00FF00FF00FF) | wrap((raw & 0x00FF00FF00FF00FF) << 8)
    b = (shr(a, 16) & 0x0000FFFF0000FFFF) | wrap((a & 0x0000FFFF0000FFFF) << 16)
    return shr(b, 32) | wrap(b << 32)
