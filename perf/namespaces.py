"""``perf/run namespaces``: HTTP through us and through others, in one network and one run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import click

from perf import namespaces_wrk
from perf.errors import PerfError
from perf.huge import reserved
from perf.namespaces_lab import Arena, Contender
from perf.namespaces_needs import provide
from perf.report import Report, trio
from perf.rounds import spread
from tools import lab_needs
from tools.lab import Lab
from tools.lab_balancer import HUGEPAGES
from tools.lab_node import LabError

HEAD = ("through", "connections", "requests/s", "p50 ms", "p99 ms", "errors")
KINDS = {"kept open": False, "one a request": True}
WARM_UP = 1  # seconds
Results = dict[tuple[str, str], list[namespaces_wrk.Figures]]


def rounds(arena: Arena, count: int, seconds: int, connections: int) -> Results:
    """Interleaved rounds: each contender in turn, and each time another one first."""
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="dpvs-perf-") as scrap:

        def one(contender: Contender, kind: str, length: int) -> namespaces_wrk.Figures:
            return namespaces_wrk.run(
                arena.client, Path(scrap), contender.url, length, connections, KINDS[kind]
            )

        for contender in arena.contenders:
            one(contender, "kept open", WARM_UP)
        for number in range(count):
            turn = number % len(arena.contenders)
            for contender in [*arena.contenders[turn:], *arena.contenders[:turn]]:
                for kind in KINDS:
                    found = one(contender, kind, seconds)
                    results.setdefault((contender.name, kind), []).append(found)
    return results


def report_of(results: Results, absent: dict[str, str]) -> Report:
    """The table, the fastest kind of connections first, contenders in order."""
    report = Report("namespaces", HEAD)
    for kind in KINDS:
        for (name, of), found in results.items():
            if of == kind:
                errors = sum(one.errors for one in found)
                data: dict[str, Any] = {
                    "through": name, "connections": kind, "errors": errors,
                    "rate": spread([one.rate for one in found]),
                    "p50_ms": spread([one.p50 for one in found]),
                    "p99_ms": spread([one.p99 for one in found]),
                }  # fmt: skip
                cells = [trio(data["rate"]), trio(data["p50_ms"], 2), trio(data["p99_ms"], 2)]
                report.add([name, kind, *cells, str(errors)], data)
    for name, why in absent.items():
        report.add([name, "-", why, "-", "-", "-"], {"through": name, "absent": why})
    return report


@click.command()
@click.option("--rounds", "count", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 600), default=2, show_default=True,
              help="Length of a round.")  # fmt: skip
@click.option("--connections", type=click.IntRange(1, 400), default=64, show_default=True)
@click.option("--install/--no-install", default=True, show_default=True,
              help="Install what is missing to compare with (apt-get).")  # fmt: skip
def command(count: int, seconds: int, connections: int, install: bool) -> None:
    """Compare wrk's figures through us, nginx stream, HAProxy and nftables."""
    namespaces_wrk.need()
    if lacking := lab_needs.lab_missing() + lab_needs.dpdk_missing():
        raise PerfError(f"namespaces cannot run here: {'; '.join(lacking)}")
    absent = provide(install)
    name = f"perf{os.getpid()}"
    try:
        with reserved(HUGEPAGES), Lab(name) as lab:
            arena = Arena(lab, absent)
            arena.check()
            results = rounds(arena, count, seconds, connections)
            arena.check()
        if left := lab.leftovers():
            raise PerfError(f"left behind: {', '.join(left)}")
    except LabError as error:
        raise PerfError(str(error)) from error
    report = report_of(results, arena.absent)
    report.notes += [
        f"min / median / max of {count} interleaved rounds of {seconds} s, wrk with one "
        f"thread and {connections} connections to three nginx servers, all on the same cpus.",
        "One worker, thread or process each. dpvs has its ports as taps here: every packet is "
        "copied to and from the kernel by a system call, which a network card does not need.",
        '"none" asks one of the servers without a balancer.',
    ]
    if any(row.get("errors") for row in report.data):
        report.notes.append("Requests failed: rates with errors are not comparable.")
    report.finish()
