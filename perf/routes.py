"""``perf/run routes``: longest prefixes among ten routes and a million, both families."""

from __future__ import annotations

import click

from perf.child import in_child
from perf.options import CPU, Counts
from perf.report import Report, trio

HEAD = (
    "routes", "lengths", "M lookups/s", "cycles", "MB", "M updates/s", "records/s", "compared",
)  # fmt: skip
MOST = 1 << 22


@click.command()
@click.option("--routes", type=Counts(MOST), default="10,10000,1000000", show_default=True)
@click.option("--rounds", type=click.IntRange(1, 1000), default=7, show_default=True)
@CPU
def command(routes: list[int], rounds: int, cpu: int | None) -> None:
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
    report.finish()
