"""``perf/run scale``: from a thousand to ten million live sessions, packets in random order.

Frames are written by a compiled generator into net_null's buffers, where a driver would deliver
them; the generator's cost is measured in the same run and subtracted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ipvs.table import table_bytes
from perf import network, ways
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


def cases(
    modes: tuple[str, ...], protos: tuple[str, ...], family: str, switched: list[bool]
) -> Iterator[tuple[str, str, int, bool]]:
    """(mode, protocol, family, features) of each table line, families next to each other."""
    for mode in modes or ways.MODES:
        for proto in protos or (("udp", "tcp") if mode == "fullnat" else ("udp",)):
            for on in switched:
                for number in ways.families(mode, family):
                    yield mode, proto, number, on


@click.command()
@click.option("--sessions", type=Counts(MAX_FLOWS), default=SESSIONS, show_default=True)
@click.option("--mode", "modes", type=click.Choice(ways.MODES), multiple=True,
              help="Default: each.")  # fmt: skip
@click.option("--proto", "protos", type=click.Choice(list(network.PROTOCOLS)), multiple=True,
              help="Default: udp, and tcp for fullnat.")  # fmt: skip
@click.option("--family", type=click.Choice(["4", "6", "both"]), default="4", show_default=True,
              help="Of addresses; IPv6 frames have 20 bytes more. nat64: 6.")  # fmt: skip
@click.option("--features", type=click.Choice(["off", "on", "both"]), default="off",
              show_default=True, help=f"Optional features: {', '.join(FEATURES)}.")  # fmt: skip
@click.option("--table", type=click.IntRange(64, 1 << 27),
              help="Size of the connection table (default: the most sessions).")  # fmt: skip
@ROUNDS
@SECONDS
@CPU
def command(
    sessions: list[int], modes: tuple[str, ...], protos: tuple[str, ...], family: str,
    features: str, table: int | None, rounds: int, seconds: float, cpu: int | None,
) -> None:  # fmt: skip
    """Measure packets over 1 k to 10 M live sessions."""
    report = Report("scale", HEAD)
    capacity = table or max(sessions)
    if capacity < max(sessions):
        raise click.UsageError(f"--table {capacity} does not hold {max(sessions)} sessions")
    switched = {"off": [False], "on": [True], "both": [False, True]}[features]
    chosen = list(cases(modes, protos, family, switched))
    if not chosen:
        raise click.UsageError(f"--family {family} is not measured for {', '.join(modes)}")
    slots = max(ways.slots_for(capacity, number) for _, _, number, _ in chosen)
    with reserved(pages_for(BUFFERS, table_bytes(slots))):
        for mode, proto, number, on in chosen:
            job = {
                "mode": mode, "proto": proto, "family": number, "table": capacity,
                "sessions": sessions, "rounds": rounds, "seconds": seconds, "cpu": cpu,
                "features": list(FEATURES) if on else [],
            }  # fmt: skip
            more = ["+ " + ", ".join(FEATURES)] * on
            name = " ".join([proto, ways.title(mode, number), *more])
            click.echo(f"measuring {name} ...", err=True)
            for result in in_child("perf.scale_run:measure", job):
                add(report, name, result)
    report.check_notes(
        f"min / median / max of {rounds} rounds of {seconds} s, generator (and driver) subtracted; "
        f"table of {capacity:,}; packets in random order; frame data warm in the cache",
        rounds * len(report.data),
    )
    report.finish()
