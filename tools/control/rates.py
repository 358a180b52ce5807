"""Per-second rates of real servers, from samples of the workers' counters.

A rate is what was counted between the newest sample and the one about two seconds before it,
divided by the time between them: a window of 2 s, so a burst shows within a second and is gone two
seconds later. With very many real servers only a part is sampled each second, and the windows
grow accordingly; the times are kept per sample, so the rates stay right.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from .providers import CounterSource, DestCounters

WINDOW = 2.0
#: counter readings per second that sampling may cost the master
BUDGET = 8192


class Rates(NamedTuple):
    """Connections, packets and bytes per second."""

    cps: int = 0
    inpps: int = 0
    outpps: int = 0
    inbps: int = 0
    outbps: int = 0


class _Sample(NamedTuple):
    time: float
    counters: DestCounters


class RateSampler:
    """Keeps up to three samples per real server and worker."""

    def __init__(self, counters: CounterSource, budget: int = BUDGET) -> None:
        self._counters = counters
        self._budget = budget
        self._history: dict[int, dict[int, deque[_Sample]]] = {}
        self._turn = 0

    def sample(self, now: float, dest_ids: list[int]) -> None:
        """Sample the given real servers, or the next part of them when they are many.

        `now` is in seconds of any monotonic clock.
        """
        cids = range(1, self._counters.n_workers + 1)
        part = max(1, self._budget // max(1, len(cids)))
        if part >= len(dest_ids):
            self._turn = 0
        else:
            start = self._turn % len(dest_ids)
            self._turn = start + part
            dest_ids = (dest_ids[start:] + dest_ids[:start])[:part]
        for dest_id in dest_ids:
            per_worker = self._history.setdefault(dest_id, {})
            for cid in cids:
                history = per_worker.setdefault(cid, deque())
                history.append(_Sample(now, self._counters.dest_counters(cid, dest_id)))
                # keep one sample that is a window old, drop those before it
                while len(history) > 2 and history[1].time <= now - WINDOW:
                    history.popleft()

    def forget(self, dest_id: int) -> None:
        """Drop the samples of a removed real server."""
        self._history.pop(dest_id, None)

    def rates(self, dest_id: int, cids: Iterable[int]) -> Rates:
        """Rates over the given workers; zero before the second sample."""
        total = [0.0] * 5
        for cid in cids:
            history = self._history.get(dest_id, {}).get(cid)
            if history and history[-1].time > history[0].time:
                old, new = history[0], history[-1]
                for i in range(5):
                    counted = max(0, new.counters[i] - old.counters[i])
                    total[i] += counted / (new.time - old.time)
        return Rates(*map(round, total))
