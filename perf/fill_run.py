"""The measuring process of ``newconn`` that fills a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ipvs.drops import CONN_FULL
from perf.balancer import Bench, check_nothing_lost
from perf.errors import PerfError
from perf.generator import Source
from perf.live import BURST, build, oracle_of
from perf.rounds import spread
from perf.tap import check_sample
from perf.watch import Watch, pin
from stack.drops import REASONS

SLICES = 200  # of a fill; twenty make a tenth
ENDLESS = 1 << 40
REFUSED = 10 * BURST  # connections tried when the table is full
SAMPLE = 32


def memory_used() -> int:
    """Bytes of memory this process really occupies, hugepages included."""
    sizes = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "HugetlbPages"):
            sizes[name] = int(rest.split()[0]) * 1024
    return sizes.get("VmRSS", 0) + sizes.get("HugetlbPages", 0)


def source_cost(bench: Bench, source: Source, bursts: int) -> float:
    """Cycles a frame costs that is made and thrown away."""
    source.in_order(0, ENDLESS)
    spent, packets = bench.bounce(bursts)
    return spent / packets


def opened_cost(bench: Bench, source: Source, first: int, count: int) -> tuple[float, float]:
    """(cycles per connection, the generator's share) of opening ``count`` connections."""
    bursts = count // BURST
    making = source_cost(bench, source, max(64, bursts // 4))
    source.in_order(first, bursts * BURST)
    before, had = bench.tally(), bench.connections()
    cycles = bench.run(bursts)
    packets = check_nothing_lost(before, bench.tally())
    opened = bench.connections() - had
    if opened != packets:
        raise PerfError(f"{packets} new flows opened {opened} connections")
    return cycles / packets, making


def _full(bench: Bench, source: Source, capacity: int) -> None:
    """A full table refuses new flows, counts them, and goes on forwarding what it has."""
    name = REASONS[CONN_FULL][0]
    source.in_order(capacity, REFUSED)
    before = bench.tally()
    bench.run(REFUSED // BURST)
    refused = bench.tally().reasons.get(name, 0) - before.reasons.get(name, 0)
    if refused != REFUSED or bench.connections() != capacity:
        raise PerfError(
            f"a full table of {capacity} refused {refused} of {REFUSED} connections and holds "
            f"{bench.connections()}"
        )


def at_best(done: list[tuple[int, float, float, bool]], tenth: int) -> tuple[list[float], bool]:
    """Own cycles of the parts of a tenth in which the core was at its best, and False.

    ``done``: (tenth, cycles, the generator's share, was the core crowded).  When there is no such
    part: of all parts, and True.
    """
    parts = [(total - making, crowded) for at, total, making, crowded in done if at == tenth]
    best = [cost for cost, crowded in parts if not crowded]
    return best or [cost for cost, _ in parts], not best


def fill(job: dict[str, Any]) -> dict[str, Any]:
    """Fill a table from empty to full; cycles per connection of each tenth."""
    watch = Watch(pin(job.get("cpu")))
    bench, source = build(job)
    try:
        oracle, capacity = oracle_of(job), job["table"]
        chunk = max(BURST, capacity // SLICES // BURST * BURST)
        done: list[tuple[int, float, float, bool]] = []
        opened, troubles = 0, []
        while opened + BURST <= capacity:
            count = min(chunk, (capacity - opened) // BURST * BURST)
            with watch:
                total, making = opened_cost(bench, source, opened, count)
            if watch.trouble:
                troubles.append(watch.trouble)
            else:
                done.append((opened * 10 // capacity, total, making, watch.crowded))
            opened += count
        tenths = [at_best(done, n) for n in range(10)]
        if not all(costs for costs, _ in tenths):
            raise PerfError(
                f"{len(troubles)} parts of the fill were disturbed ({troubles[0]}): no rate is "
                "shown; stop other programs, or try again"
            )
        source.in_order(opened, capacity - opened)
        bench.run(1)
        _full(bench, source, capacity)
        source.random(capacity)
        compared = check_sample(bench, oracle, SAMPLE)
        return {
            "hz": bench.hz,
            "tenths": [spread(costs)[1] for costs, _ in tenths],
            "whole": sum(sum(costs) / len(costs) for costs, _ in tenths) / 10,
            "source": spread([making for _, _, making, _ in done])[1],
            "memory": memory_used(),
            "compared": compared,
            "crowded": sum(crowded for _, crowded in tenths),
        }
    finally:
        bench.close()
