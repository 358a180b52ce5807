"""Pools of free local ports made once and copied: as plain Python each takes 0.1 s to make.

What is copied was made by the code under test (ipvs/laddr.py), whose own tests make theirs.
"""

from __future__ import annotations

import ctypes
from typing import Any

from ipvs import laddr

_made: dict[tuple[int, ...], bytes] = {}


def install() -> None:
    """Let local addresses that are added get copies."""
    fill = laddr.fill_pools

    def copied(
        at: int, stats: int, memory: int, replicas: int, worker: int, workers: int,
        rss_known: int, marks: int,
    ) -> int:  # fmt: skip
        key = replicas, worker, workers, int(bool(rss_known))
        size = replicas * laddr.RING
        held = marks and ctypes.string_at(marks, size).count(0) < size
        if held or key not in _made:
            total = fill(at, stats, memory, replicas, worker, workers, rss_known, marks)
            if not held:
                _made[key] = ctypes.string_at(memory, laddr.pool_bytes(replicas))
            return int(total)
        ctypes.memmove(memory, _made[key], laddr.pool_bytes(replicas))
        a: Any = laddr.Laddr(at)
        a.replicas, a.heads, a.rss_known = replicas, memory, rss_known
        a.rings = memory + replicas * laddr.REPLICA_SIZE
        s: Any = laddr.LaddrStats(stats)
        s.used, s.free = 0, sum(
            laddr.Replica(memory + r * laddr.REPLICA_SIZE).given for r in range(replicas)
        )  # fmt: skip
        return int(s.free)

    laddr.fill_pools = copied
