"""The block of shared memory in which a worker shows that it lives, and learns that it must stop.

Compiled loops use it through runtime/heartbeat_loop.py.  This file imports nothing heavy.
"""

from __future__ import annotations

import ctypes

STARTING, READY = 0, 1


class LifeBlock(ctypes.Structure):
    """One worker's block, two cache lines; cleared by the master before each start."""

    _fields_ = [
        # Written by the worker's loop.
        ("heartbeat", ctypes.c_int64),
        # Written by the worker when it starts: STARTING or READY, and its pid.
        ("state", ctypes.c_int64),
        ("pid", ctypes.c_int64),
        ("_line0", ctypes.c_int64 * 5),
        # Set by the worker's signal thread; on a line of its own, which the loop only reads.
        ("stop", ctypes.c_int64),
        ("_line1", ctypes.c_int64 * 7),
    ]


LIFE_BYTES = ctypes.sizeof(LifeBlock)
STOP_OFFSET: int = getattr(LifeBlock, "stop").offset  # noqa: B009 (unknown to type checkers)
