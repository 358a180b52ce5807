"""``perf/run routes``: longest prefixes among ten routes and a million, both families.

And a master with as many, one after the other: what a restarted worker and a changed address cost.
"""

from __future__ import annotations

from typing import Any

import click

from perf.child import in_child
from perf.options import CPU, Counts
from perf.report import Report, trio
from perf.rounds import spread

HEAD = (
    "routes", "lengths", "M lookups/s", "cycles", "MB", "M updates/s", "records/s", "compared",
)  # fmt: skip
MOST = 1 << 22
SYNC_HEAD = ("what happens", "whole, s", "master, s", "worker, s")
SYNC_ROUNDS = 3


def sync_rows(one: dict[str, Any]) -> list[list[str]]:
    """The lines about a master with so many routes."""
    routes = f"{one['routes']:,} IPv{one['version']} routes"
    names = {
        "snapshot": f"snapshot of {routes} to a restarted worker",
        "near": f"address added beside {routes}, all of which take it as source",
        "far": f"address added beside {routes}, on another device",
    }
    return [[name, *(trio(spread(part), 3) for part in one[key])] for key, name in names.items()]


def with_a_master(report: Report, routes: list[int], rounds: int) -> None:
    """Add the table of what very many routes cost the master and a worker."""
    rows = []
    for version in (4, 6):
        for count in routes:
            job = {"version": version, "routes": count, "rounds": min(rounds, SYNC_ROUNDS)}
            one = in_child("perf.routes_sync:measure", job)
            report.data.append(one)
            rows += sync_rows(one)
    report.table("Very many routes and the master", SYNC_HEAD, rows)
    report.notes.append(
        f"the second table: min / median / max of {min(rounds, SYNC_ROUNDS)} rounds; messages "
        "through the rings, master and worker in turn in one process; 300 of the worker's routes "
        "compared with what they must be after each change"
    )


@click.command()
@click.option("--routes", type=Counts(MOST), default="10,10000,1000000", show_default=True)
@click.option("--rounds", type=click.IntRange(1, 1000), default=7, show_default=True)
@click.option(
    "--master",
    type=Counts(MOST),
    default="10000,100000",
    show_default=True,
    help="Routes of a master; a million take it minutes to read in.",
)
@CPU
def command(routes: list[int], rounds: int, master: list[int], cpu: int | None) -> None:
    """Look addresses up in random order in tables of such sizes; replace routes in them."""
    report = Report("routes", HEAD)
    for version in (4, 6):
        for count in routes:
            job = {"version": version, "routes": count, "rounds": rounds, "cpu": cpu}
            one = in_child("perf.routes_run:measure", job)
            speed = [one["hz"] / cycles / 1e6 for cycles in reversed(one["cycles"])]
            report.add(
                [f"IPv{version}: {count:,}", f"{one['lengths']}", trio(speed, 2),
                 trio(one["cycles"]), f"{one['memory'] / 1e6:.1f}", f"{one['updates'] / 1e6:.2f}",
                 f"{one['records']:,.0f}", f"{one['compared']:,}"],
                one,
            )  # fmt: skip
    report.notes.append(
        f"min / median / max of {rounds} rounds; one lookup after the other, of addresses in "
        "random routes and (a tenth) anywhere"
    )
    report.notes.append(
        "MB: memory that loading made resident; updates: a route removed and added again in the "
        "table; records: routes a worker takes from the master"
    )
    report.notes.append(
        "compared with a search through all routes, after loading and again after the updates"
    )
    report.speed_notes(rounds * len(report.data))
    with_a_master(report, master, rounds)
    report.finish()
