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
from perf import network
from perf.child import Child
from perf.errors import PerfError
from perf.huge import PAGE, pages_for, reserved
from perf.live import BUFFERS
from perf.options import ROUNDS, SECONDS, Counts
from perf.report import Report, trio
from perf.rounds import spread
from perf.traffic import MAX_FLOWS
from perf.workers_run import BLOCK, measure, pace

HEAD = ("sessions each", "one worker Mpps", "two workers Mpps", "scaling", "cycles alone", "beside")
MODEL = (1, 2, 4, 8, 16)
LEAST = 3  # undisturbed rounds without which a phase shows no rate
LEAD = 0.3  # seconds between the opening of the gate and the first round
LINES = 2  # cache lines of memory a packet changes or reads: a bucket and an entry

Phase = dict[str, Any]


def run_pair(jobs: list[dict[str, Any]]) -> tuple[list[Phase], list[Phase]]:
    """(each worker alone, both at once).  Raises PerfError."""
    children = [Child(f"{measure.__module__}:measure", {**job, "phases": 2}) for job in jobs]
    try:
        for child in children:
            child.ready()
        for child in children:
            child.go(time.monotonic() + LEAD)
            child.ready()
        moment = time.monotonic() + LEAD
        for child in children:
            child.go(moment)
        results = [child.result() for child in children]
    finally:
        for child in children:
            child.end()
    return [phases[0] for phases in results], [phases[1] for phases in results]


def rates(phases: list[Phase]) -> list[float]:
    """Mpps of all workers together in each round that was undisturbed on every core."""
    found = []
    for rounds in zip(*(phase["rounds"] for phase in phases), strict=True):
        if not any(one["trouble"] for one in rounds):
            hz = phases[0]["hz"]
            found.append(sum(hz / max(one["total"] - one["source"], 1) for one in rounds) / 1e6)
    if len(found) < LEAST:
        troubles = [one["trouble"] for phase in phases for one in phase["rounds"] if one["trouble"]]
        raise PerfError(
            f"only {len(found)} rounds were undisturbed on every core ({troubles[0]}): no rate is "
            "shown; stop other programs, or try again"
        )
    return found


def _cycles(phases: list[Phase]) -> list[float]:
    return spread([
        one["total"] - one["source"]
        for phase in phases for one in phase["rounds"] if not one["trouble"]
    ])  # fmt: skip


def _lines(phases: list[Phase]) -> float:
    """Million random cache lines of memory changed a second, by all workers together."""
    return sum(phase["hz"] / statistics.median(phase["line"]) for phase in phases) / 1e6


def compare(alone: list[Phase], both: list[Phase]) -> dict[str, Any]:
    """The figures of one size."""
    single = [value for phase in alone for value in rates([phase])]
    pair = rates(both)
    scaling = statistics.median(pair) / statistics.median(single)
    return {
        "one": spread(single), "two": spread(pair), "scaling": scaling,
        "alone": _cycles(alone), "beside": _cycles(both),
        "lines_one": _lines(alone) / len(alone), "lines_two": _lines(both),
        "compared": sum(phase["compared"] for phase in both),
        "crowded": sum(phase["crowded"] for phase in both),
    }  # fmt: skip


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
@click.option("--mode", type=click.Choice(network.MODES), default="fullnat", show_default=True)
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
        pages = pages_for(BUFFERS, table_bytes(job["table"])) + BLOCK // PAGE
        with reserved(pages * len(cpus)):
            result = compare(*run_pair([{**job, "cpu": cpu} for cpu in cpus]))
        report.add(
            [
                f"{count:,}", trio(result["one"], 2), trio(result["two"], 2),
                f"{result['scaling']:.2f}", trio(result["alone"]), trio(result["beside"]),
            ],
            {"sessions": count, **result},
        )  # fmt: skip
        modelled = model(result["one"][1], result["scaling"])
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
        f"min / median / max of {rounds} rounds of {seconds} s every {pace(seconds):.2f} s; "
        "generator (and driver) subtracted",
        4 * rounds * len(report.data),
    )
    report.finish()
