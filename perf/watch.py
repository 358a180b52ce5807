"""Was the measuring core ours, and at full speed, while a round ran?"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from perf.loops import spin

STEPS = 200_000
SHARE = 0.985  # of the wall clock this thread must have run
SLOWER = 1.06  # the core may take this much longer than at its fastest
STEAL_SHARE = 0.02


def pin(cpu: int | None = None) -> int:
    """Pin this process to ``cpu`` (default: the highest allowed); returns it."""
    chosen = max(os.sched_getaffinity(0)) if cpu is None else cpu
    os.sched_setaffinity(0, {chosen})
    return chosen


def _schedule(policy: int, priority: int) -> None:
    """Real-time priority for a round, so that nothing of this machine interrupts it.

    Rounds stay below the 0.95 s after which the kernel lets others in.  Not root: other programs
    of the same core show up as disturbed rounds.
    """
    with suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(priority))


def steal_seconds(cpu: int) -> float:
    """Time the hypervisor gave this cpu to others, since boot (/proc/stat)."""
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words[0] == f"cpu{cpu}":
            return int(words[8]) / os.sysconf("SC_CLK_TCK")
    return 0.0


class Watch:
    """Judges rounds: ``with watch: ...`` and then ``watch.trouble`` (empty when all was well)."""

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        self.trouble = ""
        self.best = min(self._spin() for _ in range(20))

    def _spin(self) -> float:
        return float(spin(STEPS)) / STEPS

    def __enter__(self) -> Watch:
        _schedule(os.SCHED_FIFO, 1)
        self._before = self._spin()
        self._steal = steal_seconds(self.cpu)
        self._wall, self._own = time.perf_counter(), time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, own = time.perf_counter() - self._wall, time.thread_time() - self._own
        steal = steal_seconds(self.cpu) - self._steal
        after = self._spin()
        _schedule(os.SCHED_OTHER, 0)
        self.best = min(self.best, self._before, after)
        slow = max(self._before, after) / self.best
        self.trouble = ""
        if own < wall * SHARE:
            self.trouble = f"other programs had {100 - 100 * own / wall:.0f}% of cpu {self.cpu}"
        elif steal > max(wall * STEAL_SHARE, 0.011):
            self.trouble = f"the hypervisor took {100 * steal / wall:.0f}% of cpu {self.cpu}"
        elif slow > SLOWER:
            self.trouble = f"cpu {self.cpu} ran {slow:.2f} times slower than at its fastest"
