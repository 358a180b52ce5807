"""``perf/run scale``: from a thousand to ten million live sessions, packets in random order.

Frames are written by a compiled generator into net_null's buffers, where a driver would deliver
them; the generator's cost is measured in the same run and subtracted.
"""

from __future__ import annotations

from typing import Any

import click

from ipvs.table import table_bytes
from perf import network
from perf.child import in_child
from perf.huge import pages_for, reserved
from perf.live import BUFFERS, FEATURES
from perf.options import CPU, ROUNDS, SECONDS, Counts
from perf.report import Report, trio
from perf.traffic import MAX_FLOWS

HEAD = ("case", "sessions", "Mpps", "cycles/packet", "with generator", "generator")
SESSIONS = "1000,65536,1000000,4000000,10000000"


def add(report: Report, name: str, result: dict[str, Any]) -> None:
    """One line of the table."""
    report.add(
        [
            name, f"{result['sessions']:,}", trio(result["own_mpps"], 2), trio(result["own"]),
            f"{result['total'][1]:.0f}", f"{result['source'][1]:.0f}",
        ],
        {"case": name, **result},
    )  # fmt: skip


@click.command()
@click.option("--sessions", type=Counts(MAX_FLOWS), default=SESSIONS, show_default=True)
@click.option("--mode", "modes", type=click.Choice(network.MODES), multiple=True,
              help="Default: each.")  # fmt: skip
@click.option("--proto", "protos", type=click.Choice(list(network.PROTOCOLS)), multiple=True,
              help="Default: udp, and tcp for fullnat.")  # fmt: skip
@click.option("--features", type=click.Choice(["off", "on", "both"]), default="off",
              show_default=True, help=f"Optional features: {', '.join(FEATURES)}.")  # fmt: skip
@click.option("--table", type=click.IntRange(64, 1 << 27),
              help="Size of the connection table (default: the most sessions).")  # fmt: skip
@ROUNDS
@SECONDS
@CPU
def command(
    sessions: list[int], modes: tuple[str, ...], protos: tuple[str, ...], features: str,
    table: int | None, rounds: int, seconds: float, cpu: int | None,
) -> None:  # fmt: skip
    """Measure packets over 1 k to 10 M live sessions."""
    report = Report("scale", HEAD)
    capacity = table or max(sessions)
    if capacity < max(sessions):
        raise click.UsageError(f"--table {capacity} does not hold {max(sessions)} sessions")
    switched = {"off": [False], "on": [True], "both": [False, True]}[features]
    with reserved(pages_for(BUFFERS, table_bytes(capacity))):
        for mode in modes or network.MODES:
            for proto in protos or (("udp", "tcp") if mode == "fullnat" else ("udp",)):
                for on in switched:
                    job = {
                        "mode": mode, "proto": proto, "table": capacity, "sessions": sessions,
                        "rounds": rounds, "seconds": seconds, "cpu": cpu,
                        "features": list(FEATURES) if on else [],
                    }  # fmt: skip
                    name = " ".join([proto, mode, *["+ " + ", ".join(FEATURES)] * on])
                    click.echo(f"measuring {name} ...", err=True)
                    for result in in_child("perf.scale_run:measure", job):
                        add(report, name, result)
    report.check_notes(
        f"min / median / max of {rounds} rounds of {seconds} s, generator (and driver) subtracted; "
        f"table of {capacity:,}; packets in random order; frame data warm in the cache",
        rounds * len(report.data),
    )
    report.finish()
