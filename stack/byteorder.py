"""Byte order of plain integers; header fields have theirs in stack/headers.py."""

from __future__ import annotations

from runtime.jit import compiled


@compiled
def swap16(value):
    """Byte-swap a 16-bit number."""
    return ((value & 0xFF) << 8) | (value >> 8)


@compiled
def swap32(value):
    """Byte-swap a 32-bit number."""
    return (swap16(value & 0xFFFF) << 16) | swap16(value >> 16)
