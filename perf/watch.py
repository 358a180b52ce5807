"""Was the measuring core ours, and at full speed, while a round ran?"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from perf.loops import crowd, spin
from perf.options import keeping

STEPS = 100_000
SHARE = 0.985  # of the wall clock this thread must have run
SLACK = 50e-6  # seconds: reading the clocks takes time too
THROTTLED = 1.5  # times the shortest cycle seen: turbo comes and goes, but not by that much
CROWDED = 1.2  # the same for work that fills all execution ports
STEAL_SHARE = 0.02
BREATH = 0.08  # of a round's length for the others: real-time processes may not take it all


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
    """Judges rounds: ``with watch: ...``, then ``watch.trouble`` is empty when the core was ours.

    ``watch.crowded`` tells that it was slower than at its best (its other hardware thread was
    busy, or the clock was down), but worked: such a figure is a lower bound.  When disturbed rounds
    are to count (``keeping``) they are crowded ones.
    """

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        self.trouble = ""
        self.crowded = False
        self.crowded_rounds = self.set_aside = 0
        probes = [self._probe() for _ in range(40)]
        self._best = [min(probe[i] for probe in probes) for i in range(2)]

    def _probe(self) -> tuple[float, float]:
        return spin(STEPS) / STEPS, crowd(STEPS) / STEPS

    def __enter__(self) -> Watch:
        _schedule(os.SCHED_FIFO, 1)
        self._before = self._probe()
        self._steal = steal_seconds(self.cpu)
        self._wall, self._own = time.perf_counter(), time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, own = time.perf_counter() - self._wall, time.thread_time() - self._own
        steal = steal_seconds(self.cpu) - self._steal
        after = self._probe()
        _schedule(os.SCHED_OTHER, 0)
        time.sleep(wall * BREATH)
        pairs = list(zip(self._before, after, strict=True))
        self._best = [min(best, *pair) for best, pair in zip(self._best, pairs, strict=True)]
        slow, full = (max(pair) / best for best, pair in zip(self._best, pairs, strict=True))
        self.crowded = max(slow, full) > CROWDED
        self.trouble = ""
        if own < wall * SHARE - SLACK:
            self.trouble = f"other programs had {100 - 100 * own / wall:.0f}% of cpu {self.cpu}"
        elif steal > max(wall * STEAL_SHARE, 0.011):
            self.trouble = f"the hypervisor took {100 * steal / wall:.0f}% of cpu {self.cpu}"
        elif slow > THROTTLED:
            self.trouble = f"cpu {self.cpu} ran {slow:.2f} times slower than at its fastest"
        if self.trouble and keeping():
            self.trouble, self.crowded = "", True
