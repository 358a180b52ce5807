"""``perf/run ports``: millions of connections through one local address; everything comes back."""

from __future__ import annotations

import click

from perf.child import in_child
from perf.options import CPU
from perf.report import Report

HEAD = ("connections", "at once", "ports", "free afterwards", "entries left", "expired")


@click.command()
@click.option("--connections", type=click.IntRange(1, 1 << 40), default=10_000_000,
              show_default=True)  # fmt: skip
@CPU
def command(connections: int, cpu: int | None) -> None:
    """Open and end connections through one local address, and count ports and entries."""
    report = Report("ports", HEAD)
    job = {"connections": connections, "cpu": cpu}
    result = in_child("perf.ports_run:through_one", job)
    names = ("opened", "at_once", "ports", "free", "entries", "expired")
    report.add([f"{result[name]:,}" for name in names], result)
    report.notes.append(
        "UDP FullNAT, one local address; ports by real server: each serves one connection to every "
        "server; none was refused, no packet was lost"
    )
    report.finish()
