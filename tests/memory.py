"""Zeroed memory at a known alignment, for tests of structures that live at addresses."""

from __future__ import annotations

import ctypes


def aligned(size, boundary=64):
    """(memory to keep, address) of ``size`` zero bytes at a multiple of ``boundary``."""
    memory = (ctypes.c_uint8 * (size + boundary))()
    return memory, (ctypes.addressof(memory) + boundary - 1) & ~(boundary - 1)
