"""``perf/run schedulers``: what a new connection costs under each scheduler, beside round robin.

Only the first packet of a connection meets a scheduler, so it is new connections that are counted.
The user-written one is the example of docs/schedulers.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from ipvs.table import table_bytes
from netdev.port import BURST
from perf import network
from perf.child import in_child
from perf.errors import PerfError
from perf.huge import pages_for, reserved
from perf.live import BUFFERS
from perf.options import CPU
from perf.report import Report, trio

HEAD = ("scheduler", "M connections/s", "cycles", "of rr's cycles")
BUILT_IN = ("rr", "wrr", "wlc", "conhash", "mh", "fo")
PATIENCE = 5  # rounds tried for each that is wanted: fo opens all on one real server, by its ports
AT_ONCE = 8192 // BURST * BURST  # connections of a part of a round
DOCS = Path(__file__).resolve().parent.parent / "docs" / "schedulers.md"


def example() -> str:
    """The scheduler in the documentation."""
    found = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.S)
    if found is None:
        raise PerfError(f"{DOCS}: no example in it")
    return found[1]


@click.command()
@click.option("--mode", type=click.Choice(network.MODES), default="fullnat", show_default=True)
@click.option("--proto", type=click.Choice(list(network.PROTOCOLS)), default="udp")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Your own scheduler (default: the example of docs/schedulers.md).")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1, 100), default=15, show_default=True)
@CPU
def command(mode: str, proto: str, file: Path | None, rounds: int, cpu: int | None) -> None:
    """Compare the schedulers, and one written by a user, on new connections."""
    own = "own" if file is None else file.stem
    text = example() if file is None else file.read_text()
    names = [*BUILT_IN, own]
    attempts = rounds * PATIENCE + 4
    table = AT_ONCE * len(names) * (attempts + 4)
    job: dict[str, Any] = {
        "mode": mode, "proto": proto, "rounds": rounds, "cpu": cpu, "at_once": AT_ONCE,
        "attempts": attempts,
        "table": table, "schedulers": names, "sources": {own: text},
    }  # fmt: skip
    report = Report("schedulers", HEAD)
    with reserved(pages_for(BUFFERS, table_bytes(table))):
        result = in_child("perf.schedulers_run:compare", job)
    for name, cycles in result["own"].items():
        speed = [result["hz"] / cost / 1e6 for cost in reversed(cycles)]
        ratio = result["ratio"][name]
        shown = f"user-written ({own})" if name == own else name
        report.add(
            [shown, trio(speed, 2), trio(cycles), trio(ratio, 2)],
            {"scheduler": name, "cycles": cycles, "ratio": ratio, "compared": result["compared"]},
        )
    report.data[0].update({key: result[key] for key in ("crowded", "set_aside")})
    report.check_notes(
        f"{proto} {mode}, min / median / max of {rounds} rounds; each round opens connections "
        "under every scheduler in turn; generator and driver subtracted",
        rounds,
    )
    report.finish()
