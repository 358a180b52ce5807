"""The measuring process of ``newconn`` that opens connections and lets them expire, steadily.

Connections opened together expire together, so at full load both rates swing against each other
and the number of live connections goes up and down.  A round is one whole swing: from one upward
crossing of the usual number to the next as many were opened as expired.  Whole swings are longer
than a shared core stays at its best, so what it then does is also fitted to short slices.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ipvs.context import Ipvs
from ipvs.drops import CONN_FULL
from ipvs.table import Table
from perf.balancer import Bench, check_nothing_lost
from perf.errors import PerfError
from perf.fill_run import ENDLESS, SAMPLE, source_cost
from perf.generator import Source
from perf.live import build, oracle_of
from perf.rounds import spread
from perf.tap import check_sample
from perf.watch import Watch, pin
from stack.drops import REASONS

FULL = REASONS[CONN_FULL][0]
WARM = 5.0  # seconds of opening before anything is counted; the timeout is 1 s
SLICE = 0.02  # seconds
DEPTH = 0.2  # of the whole range, below the middle: what counts as a swing
BALANCE = 0.1  # expired and opened of a round may differ by so much
ENOUGH = 20  # slices with the core at its best
SPOILT = 0.1  # share of disturbed slices that spoils a round


@dataclass
class Slice:
    """Some iterations of the worker loop."""

    cycles: float
    making: float  # the generator's part of them
    opened: int
    expired: int
    live: int
    trouble: str
    crowded: bool = False


class Churn:
    """Opening without end on a balancer whose connections expire after a second."""

    def __init__(self, bench: Bench, source: Source, watch: Watch, size: int) -> None:
        self.bench, self.source, self.watch, self.size = bench, source, watch, size
        self.flow = 0

    def slice(self, iterations: int) -> Slice:
        """Run some iterations."""
        table = Table(Ipvs(self.bench.address).table)
        with self.watch:
            making = source_cost(self.bench, self.source, max(64, iterations // 16))
            self.source.in_order(self.flow, ENDLESS)
            before, gone = self.bench.tally(), table.expired
            cycles = self.bench.run(iterations)
        after = self.bench.tally()
        if after.reasons.get(FULL, 0):
            raise PerfError(
                f"a table of {self.size} is full before as many connections expire as are opened: "
                "no steady rate; choose a larger --table"
            )
        opened = check_nothing_lost(before, after)
        self.flow += opened
        ended, live = int(table.expired - gone), int(table.count)
        watch = self.watch
        return Slice(cycles, making * opened, opened, ended, live, watch.trouble, watch.crowded)

    def slices(self, seconds: float, iterations: int) -> list[Slice]:
        """Run for ``seconds``."""
        done, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            done.append(self.slice(iterations))
        return done


def swings(live: list[int]) -> list[tuple[int, int]]:
    """(begin, end) of whole swings in a series, as positions."""
    middle = statistics.median(live)
    low = middle - DEPTH * (max(live) - min(live))
    starts, below = [], False
    for at, value in enumerate(live):
        if value < low:
            below = True
        elif below and value >= middle:
            starts.append(at)
            below = False
    return list(pairwise(starts))


def balanced(done: list[Slice]) -> Iterator[float]:
    """Own cycles per connection of each good round."""
    spans = swings([one.live for one in done])
    step = max(1, len(done) // 10)
    # Without swings any stretch of time is as good as another.
    for begin, end in spans or [(at, at + step) for at in range(0, len(done), step)]:
        part = done[begin + 1 : end + 1]
        opened, expired = sum(one.opened for one in part), sum(one.expired for one in part)
        spoilt = sum(1 for one in part if one.trouble)
        if not part or spoilt > SPOILT * len(part) or abs(expired / opened - 1) > BALANCE:
            continue
        yield sum(one.cycles - one.making for one in part) / opened


def at_best(done: list[Slice]) -> float | None:
    """Own cycles per connection opened and expired, of slices with the core at its best.

    Least squares of own cycles = a * opened + b * expired; a + b is asked for, since steadily as
    many expire as are opened.  None when there are fewer than ENOUGH such slices.
    """
    good = [one for one in done if not one.trouble and not one.crowded]
    if len(good) < ENOUGH:
        return None
    counts = np.array([[one.opened, one.expired] for one in good], float)
    costs = np.array([one.cycles - one.making for one in good])
    return float(np.linalg.lstsq(counts, costs, rcond=None)[0].sum())


def churn(job: dict[str, Any]) -> dict[str, Any]:
    """Open connections without end that expire after a second."""
    watch = Watch(pin(job.get("cpu")))
    bench, source = build({**job, "timeout": 1})
    try:
        oracle, run = oracle_of(job), Churn(bench, source, watch, job["table"])
        warm = run.slices(WARM, 2000)
        ticks = sum(one.cycles for one in warm) / (2000 * len(warm))
        iterations = max(64, int(SLICE * bench.hz / ticks))
        done: list[Slice] = []
        rounds: list[float] = []
        until = time.monotonic() + job["patience"]
        while len(rounds) < job["rounds"] and time.monotonic() < until:
            done += run.slices(2.0, iterations)
            rounds = list(balanced(done))
        if len(rounds) < job["rounds"]:
            raise PerfError(
                f"only {len(rounds)} of {job['rounds']} rounds in {job['patience']} s were "
                "undisturbed and had as many connections expire as were opened: no rate is shown"
            )
        live = [float(one.live) for one in done]
        source.in_order(run.flow, ENDLESS)
        compared = check_sample(bench, oracle, SAMPLE)
        return {
            "hz": bench.hz, "own": spread(rounds), "live": spread(live), "compared": compared,
            "rounds": len(rounds), "best": at_best(done),
            "per_second": spread([bench.hz / cost for cost in rounds]),
        }  # fmt: skip
    finally:
        bench.close()
