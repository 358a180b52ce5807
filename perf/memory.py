"""``perf/run memory``: how far away memory is from a core, by the size of what is used."""

from __future__ import annotations

from typing import Any

import click

from perf.child import in_child
from perf.huge import PAGE, reserved
from perf.memory_loop import Block
from perf.options import CPU
from perf.report import Report, trio
from perf.rounds import spread, undisturbed
from perf.watch import Watch, pin

HEAD = ("block", "waiting", "not waiting", "changing", "M lines/s changed")
SIZES = tuple(1 << bits for bits in range(18, 29))


def measure(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Cycles a cache line for each size."""
    from perf.loops import tsc_hz

    watch = Watch(pin(job["cpu"]))
    hz, results = tsc_hz(), []
    for size in SIZES:
        rounds = undisturbed(watch, job["rounds"], Block(size).costs)
        waiting, loading, changing = (spread(list(column)) for column in zip(*rounds, strict=True))
        results.append({
            "size": size, "waiting": waiting, "loading": loading, "changing": changing,
            "lines": [hz / cost / 1e6 for cost in reversed(changing)],
        })  # fmt: skip
    return results


@click.command()
@click.option("--rounds", type=click.IntRange(1, 1000), default=5, show_default=True)
@CPU
def command(rounds: int, cpu: int | None) -> None:
    """Measure cache and memory latency, which bound every table."""
    report = Report("memory", HEAD)
    with reserved(2 * max(SIZES) // PAGE):
        results = in_child("perf.memory:measure", {"rounds": rounds, "cpu": cpu})
    for one in results:
        size = one["size"]
        name = f"{size >> 20} MB" if size >> 20 else f"{size >> 10} KB"
        cells = [trio(one[key]) for key in ("waiting", "loading", "changing", "lines")]
        report.add([name, *cells], one)
    report.notes.append(
        f"cycles a cache line in random order, min / median / max of {rounds} rounds, in "
        "hugepages; waiting: each load needs the one before; changing: read and written"
    )
    report.finish()
