"""``perf/run lab``: clients, starts and killed workers in the demonstration's network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from perf import lab_requests, lab_times, namespaces_wrk
from perf.errors import PerfError
from perf.huge import reserved
from perf.lab_host import host
from perf.report import Report, trio
from perf.rounds import spread
from tools import lab_needs
from tools.lab_balancer import HUGEPAGES
from tools.lab_node import LabError
from tools.lab_two_arm import MODES

HEAD = ("what", "min / median / max", "unit", "of", "failed", "goal")
NAMES = {"fullnat": "FullNAT", "nat": "NAT", "dr": "DR", "tunnel": "Tunnel"}
COLD, WARM, RECOVERY = 60.0, 5.0, 2.0  # seconds: the goals
PARTS = ("requests", "starts", "kills")


@dataclass(frozen=True)
class Row:
    """One line of the table; without a ``limit`` the goal is that nothing fails."""

    what: str
    values: Sequence[float]
    unit: str
    of: str
    failed: int = 0
    limit: float | None = None

    @property
    def met(self) -> bool:
        """Whether the goal was reached, by every one of the values."""
        return not self.failed and (self.limit is None or max(self.values) <= self.limit)

    def cells(self) -> list[str]:
        """What is printed: no figure when something failed."""
        digits = 2 if self.unit == "s" else 0
        figures = "failed" if self.failed else trio(spread(list(self.values)), digits)
        goal = "none fails" if self.limit is None else f"{self.limit:g} s"
        verdict = "met" if self.met else "MISSED"
        return [self.what, figures, self.unit, self.of, str(self.failed), f"{goal}: {verdict}"]


def report_of(rows: Sequence[Row]) -> Report:
    """The table."""
    report = Report("lab", HEAD)
    for row in rows:
        report.add(row.cells(), {
            "what": row.what, "unit": row.unit, "of": row.of, "failed": row.failed,
            "values": None if row.failed else list(row.values), "goal": row.limit, "met": row.met,
        })  # fmt: skip
    return report


def request_rows(wanted: int, connects: int, seconds: int, connections: int) -> list[Row]:
    """wrk in every forwarding mode."""
    rows = []
    for mode in MODES:
        with host(mode) as made:
            made.balancer.start()
            kept, fresh = lab_requests.measure(made, wanted, connects, seconds, connections)
        of = f"{kept.requests:,} requests"
        name = f"{NAMES[mode]}, connections kept open"
        rows.append(Row(name, kept.rates, "requests/s", of, kept.failed))
        of = f"{fresh.requests:,} requests, {fresh.opened:,} new connections"
        name = f"{NAMES[mode]}, one connection a request"
        rows.append(Row(name, fresh.rates, "requests/s", of, fresh.failed))
    return rows


def start_rows(cold: int, warm: int) -> list[Row]:
    """Starts up to the first forwarded packet."""
    with host("fullnat", echo=True) as made:
        first, again = lab_times.starts(made, cold, warm)
    return [
        Row("cold start to first packet", first.seconds, "s", f"{cold} starts", 0, COLD),
        Row("warm start to first packet", again.seconds, "s", f"{warm} starts", 0, WARM),
    ]


def kill_rows(count: int) -> list[Row]:
    """Killed workers."""
    with host("fullnat", echo=True) as made:
        forwards, goes_on = lab_times.kills(made, count)
    for text in goes_on.failed:
        click.echo(f"killed worker: {text}", err=True)
    of = f"{count} kills, {count * lab_times.CONNECTIONS} connections"
    return [
        Row("killed worker forwards again", forwards.seconds, "s", f"{count} kills", 0, RECOVERY),
        Row(
            "established connections go on", goes_on.seconds, "s", of, len(goes_on.failed), RECOVERY
        ),
    ]


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=PARTS,
              help="Only this; can be given several times.")  # fmt: skip
@click.option("--requests", type=click.IntRange(1, 10**8), default=50_000, show_default=True,
              help="At least, on connections that are kept open, in each mode.")  # fmt: skip
@click.option("--connects", type=click.IntRange(1, 10**7), default=1_000, show_default=True,
              help="At least, one a request, in each mode.")  # fmt: skip
@click.option("--seconds", type=click.IntRange(1, 60), default=1, show_default=True,
              help="Length of a round of requests.")  # fmt: skip
@click.option("--connections", type=click.IntRange(1, 400), default=64, show_default=True)
@click.option("--cold", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--warm", type=click.IntRange(1, 100), default=7, show_default=True)
@click.option("--kills", type=click.IntRange(1, 100), default=5, show_default=True)
def command(
    parts: tuple[str, ...], requests: int, connects: int, seconds: int, connections: int,
    cold: int, warm: int, kills: int,
) -> int:  # fmt: skip
    """Requests that must not fail, times of starts, and connections of killed workers."""
    if "requests" in parts:
        namespaces_wrk.need()
    if lacking := lab_needs.lab_missing() + lab_needs.dpdk_missing():
        raise PerfError(f"lab cannot run here: {'; '.join(lacking)}")
    rows = []
    try:
        with reserved(HUGEPAGES):
            if "requests" in parts:
                rows += request_rows(requests, connects, seconds, connections)
            if "starts" in parts:
                rows += start_rows(cold, warm)
            if "kills" in parts:
                rows += kill_rows(kills)
    except LabError as error:
        raise PerfError(str(error)) from error
    report = report_of(rows)
    report.notes += [
        f"One worker; three nginx servers and wrk (one thread, {connections} connections, rounds "
        f"of {seconds} s) on the same cpus, ports as taps: these rates are lower bounds.",
        "Starts: from `dpvs start`, with services in its file, until a client has its first "
        "answer; cold: with an empty compile cache.",
        "Kills: from kill -9 on; the same TCP connections to the same real "
        "servers, every byte checked. TCP retransmits after 0.2, 0.6, 1.4 and 3 s.",
    ]
    report.finish()
    return 0 if all(row.met for row in rows) else 1
