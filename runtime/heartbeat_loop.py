"""The two things a compiled loop does with its LifeBlock, once a turn.

Atomic accesses: with plain ones the compiler may read the stop flag once, before the loop, and
store the heartbeat once, after it.
"""

from __future__ import annotations

from runtime.heartbeat import LifeBlock
from runtime.intrinsics import load64, load_acquire, store_release
from runtime.jit import compiled
from runtime.pointers import view

Life = view(LifeBlock)
HEARTBEAT = Life.offset("heartbeat")
STOP = Life.offset("stop")


@compiled
def beat(life):
    """Advance the heartbeat of the LifeBlock at address ``life``."""
    return store_release(life + HEARTBEAT, load64(life + HEARTBEAT) + 1)


@compiled
def must_stop(life):
    """Not 0 when the worker has been told to stop."""
    return load_acquire(life + STOP)
