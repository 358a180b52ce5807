"""``perf/run workers``: one worker and two, each on a core of its own, and what more would give.

Workers share no memory of ours: each has its own table, buffers and port.  What they share is the
machine: the last-level cache, the memory channels, perhaps the two threads of one core.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import click

from ipvs.table import table_bytes
from perf import network, ways
from perf.child import Child
from perf.errors import PerfError
from perf.huge import PAGE, pages_for, reserved
from perf.live import BUFFERS
from perf.options import ROUNDS, SECONDS, Counts
from perf.report import Report, trio
from perf.rounds import spread
from perf.traffic import MAX_FLOWS
from perf.workers_run import BLOCK, measure

HEAD = ("sessions each", "one worker Mpps", "two workers Mpps", "scaling", "cycles alone", "beside")
MODEL = (1, 2, 4, 8, 16)
LEAST = 3  # undisturbed rounds without which a phase shows no rate
LEAD = 0.3  # seconds between the opening of the gate and the first round
LINES = 2  # cache lines of memory a packet changes or reads: a bucket and an entry

Rounds = list[dict[str, Any]]


def run_pair(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What both workers measured.  Raises PerfError."""
    children: list[Child] = []
    try:
        for index, job in enumerate(jobs):
            children.append(Child(f"{measure.__module__}:measure", {**job, "index": index}))
        for child in children:
            child.ready()
        moment = time.monotonic() + LEAD
        for child in children:
            child.go(moment)
        return [child.result() for child in children]
    finally:
        for child in children:
            child.end()


def _mpps(one: dict[str, Any], hz: float) -> float:
    return hz / max(one["total"] - one["source"], 1.0) / 1e6


def compare(workers: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one size, from rounds in which no core was disturbed.  Raises PerfError."""
    hz = workers[0]["hz"]
    rows = list(zip(*(worker[kind] for kind in ("alone", "both") for worker in workers),
                    strict=True))  # fmt: skip
    good = [row for row in rows if not any(one["trouble"] for one in row)]
    if len(good) < LEAST:
        troubles = [one["trouble"] for row in rows for one in row if one["trouble"]]
        raise PerfError(
            f"only {len(good)} of {len(rows)} rounds were undisturbed on every core "
            f"({troubles[0]}): no rate is shown; stop other programs, or try again"
        )
    own = [[one["total"] - one["source"] for one in row] for row in good]
    rates = [[_mpps(one, hz) for one in row] for row in good]
    lines = [[hz / one["line"] / 1e6 for one in row] for row in good]
    return {
        "hz": hz,
        "one": spread([value for row in rates for value in row[:2]]),
        "two": spread([sum(row[2:]) for row in rates]),
        "scaling": spread([2 * sum(row[2:]) / sum(row[:2]) for row in rates]),
        "alone": spread([value for row in own for value in row[:2]]),
        "beside": spread([value for row in own for value in row[2:]]),
        "lines_one": statistics.median(value for row in lines for value in row[:2]),
        "lines_two": statistics.median(sum(row[2:]) for row in lines),
        "rounds": len(good),
        "compared": sum(worker["compared"] for worker in workers),
        "crowded": sum(any(one["crowded"] for one in row) for row in good),
    }


def model(one: float, scaling: float) -> list[float]:
    """Mpps of 1, 2, 4, ... workers by the universal scalability law without coherence.

    X(n) = n X(1) / (1 + s (n - 1)); s comes from what two workers reached.
    """
    share = max(0.0, 2 / scaling - 1)
    return [n * one / (1 + share * (n - 1)) for n in MODEL]


def two_cpus() -> list[int]:
    """The cpus to measure on.  PerfError when there is only one."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise PerfError("two workers need two cpus, this process may use one")
    return cpus[-2:]


@click.command()
@click.option("--sessions", type=Counts(MAX_FLOWS), default="1000,65536,1000000",
              show_default=True, help="Live sessions of each worker.")  # fmt: skip
@click.option("--mode", type=click.Choice(ways.MODES), default="fullnat", show_default=True)
@click.option("--proto", type=click.Choice(list(network.PROTOCOLS)), default="udp")
@ROUNDS
@SECONDS
def command(sessions: list[int], mode: str, proto: str, rounds: int, seconds: float) -> None:
    """Measure one and two workers, and say what they share."""
    report = Report("workers", HEAD)
    cpus, rows = two_cpus(), []
    for count in sessions:
        job: dict[str, Any] = {
            "mode": mode, "proto": proto, "table": max(count, 64), "sessions": count,
            "rounds": rounds, "seconds": seconds,
        }  # fmt: skip
        click.echo(f"measuring {count} sessions ...", err=True)
        slots = ways.slots_for(job["table"], ways.FAMILIES[mode][0])
        pages = pages_for(BUFFERS, table_bytes(slots)) + BLOCK // PAGE
        with reserved(pages * len(cpus)):
            result = compare(run_pair([{**job, "cpu": cpu} for cpu in cpus]))
        report.add(
            [
                f"{count:,}", trio(result["one"], 2), trio(result["two"], 2),
                trio(result["scaling"], 2), trio(result["alone"]), trio(result["beside"]),
            ],
            {"sessions": count, **result},
        )  # fmt: skip
        modelled = model(result["one"][1], result["scaling"][1])
        rows.append([f"{count:,}", *(f"{value:.1f}" for value in modelled)])
    title = "Model, Mpps of n workers (contention as between these two, no coherence traffic):"
    report.table(title, ["sessions each", *map(str, MODEL)], rows)
    last = report.data[-1]
    report.notes += [
        "Shared: last-level cache and memory channels (and, on a virtual machine, perhaps one "
        "core's two hardware threads); no memory of ours.",
        f"Random lines of memory changed: {last['lines_one']:.0f} M/s by one core, "
        f"{last['lines_two']:.0f} M/s by both, without the prefetching of the packet path. A "
        f"packet of a table beyond the caches needs {LINES}. Where the memory channels end is not "
        "measured: two cores do not reach it.",
    ]
    report.check_notes(
        f"min / median / max of up to {rounds} rounds: each worker alone and both at once, in "
        f"turn, {seconds} s each; generator (and driver) subtracted",
        sum(result["rounds"] for result in report.data),
    )
    report.finish()
