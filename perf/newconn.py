"""``perf/run newconn``: connections opened a second, opened and expired a second, and their size.

A table is filled from empty to full, several times; the generator's cost is subtracted.  Memory is
what the process occupies (resident set and hugepages) with a full table, less what the same
process occupies with a table of almost none.
"""

from __future__ import annotations

from typing import Any

import click

from ipvs.table import table_bytes
from perf import network, ways
from perf.child import in_child
from perf.errors import PerfError
from perf.huge import pages_for, reserved
from perf.live import BUFFERS
from perf.options import CPU
from perf.report import Report, trio
from perf.rounds import spread

HEAD = ("case", "empty", "half full", "nearly full", "whole fill", "cycles", "B/connection")
STEADY_HEAD = ("case", "rounds", "opened and expired M/s", "cycles", "core at its best", "live")
SMALLEST = 640  # connections of the process that memory is compared with
TELLING = 1_000_000  # fewer connections drown in the noise of the resident set


def rate(hz: float, cycles: float) -> float:
    """Million a second."""
    return hz / cycles / 1e6


def filled(job: dict[str, Any], fills: int) -> dict[str, Any]:
    """``fills`` fills, each in a process of its own, and the bytes a connection takes."""
    results = [in_child("perf.fill_run:fill", job) for _ in range(fills)]
    hz = results[0]["hz"]
    small = in_child("perf.fill_run:fill", {**job, "table": SMALLEST, "most": job["table"]})[
        "memory"
    ]
    size = spread([(one["memory"] - small) / job["table"] for one in results])
    tenths = [spread([rate(hz, one["tenths"][n]) for one in results]) for n in range(10)]
    return {
        "hz": hz, "tenths": tenths, "table": job["table"],
        "crowded": sum(one["crowded"] for one in results),
        "whole": spread([rate(hz, one["whole"]) for one in results]),
        "cycles": spread([one["whole"] for one in results]),
        "bytes": size if job["table"] >= TELLING else None,
        "compared": sum(one["compared"] for one in results),
    }  # fmt: skip


def add_fill(report: Report, name: str, result: dict[str, Any]) -> None:
    """One line of the first table."""
    tenths = result["tenths"]
    size = "too few" if result["bytes"] is None else f"{result['bytes'][1]:.1f}"
    report.add(
        [
            name, *(trio(tenths[n], 2) for n in (0, 5, 9)), trio(result["whole"], 2),
            trio(result["cycles"]), size,
        ],
        {"case": name, "kind": "fill", **result},
    )  # fmt: skip


def steady_row(name: str, result: dict[str, Any]) -> list[str]:
    """One line of the second table."""
    rates = [value / 1e6 for value in result["per_second"]]
    best = result["best"]
    fit = f"{rate(result['hz'], best):.2f} ({best:.0f})" if best else "too seldom"
    own, live = trio(result["own"]), trio(result["live"])
    return [name, str(result["rounds"]), trio(rates, 2), own, fit, live]


@click.command()
@click.option("--mode", "modes", type=click.Choice(ways.MODES), multiple=True,
              help="Default: each.")  # fmt: skip
@click.option("--proto", type=click.Choice(list(network.PROTOCOLS)), default="udp")
@click.option("--table", type=click.IntRange(640, 1 << 27), default=10_000_000, show_default=True,
              help="Size of the connection table.")  # fmt: skip
@click.option("--fills", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 1000), default=5, show_default=True,
              help="Rounds of opening and expiring.")  # fmt: skip
@click.option("--patience", type=click.FloatRange(1, 3600), default=120, show_default=True,
              help="Seconds after which to give up on that.")  # fmt: skip
@CPU
def command(
    modes: tuple[str, ...], proto: str, table: int, fills: int, rounds: int,
    patience: float, cpu: int | None,
) -> None:  # fmt: skip
    """Measure how fast connections are opened and expired, and their memory."""
    report = Report("newconn", HEAD)
    rows, failed = [], ""
    chosen = modes or ways.MODES
    slots = max(ways.slots_for(table, ways.FAMILIES[mode][0]) for mode in chosen)
    with reserved(pages_for(BUFFERS, table_bytes(slots))):
        for mode in chosen:
            job = {
                "mode": mode, "proto": proto, "table": table, "cpu": cpu, "rounds": rounds,
                "patience": patience,
            }  # fmt: skip
            name = f"{proto} {mode}"
            click.echo(f"measuring {name} ...", err=True)
            add_fill(report, name, filled(job, fills))
            try:
                result = in_child("perf.churn_run:churn", job)
            except PerfError as error:  # what was filled stands
                failed = f"{name}: {error}"
                rows.append([name, "0", *["-"] * 4])
                report.notes.append(f"No steady rate of {failed}")
                continue
            rows.append(steady_row(name, result))
            report.data.append({"case": name, "kind": "steady", **result})
    report.table("Opened and expired after 1 s, steadily:", STEADY_HEAD, rows)
    report.check_notes(
        f"million connections a second, min / median / max of {fills} fills of a table of "
        f"{table:,} (its first, sixth and last tenth), and of whole swings of opening and "
        "expiring; generator (and driver) subtracted; one packet opens each connection; "
        "core at its best: fitted to slices of 20 ms in which it was, M/s (cycles)",
        10 * fills * len(rows),
    )
    report.finish()
    if failed:
        raise PerfError(failed)
