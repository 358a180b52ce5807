"""One worker of ``workers``: rounds that begin at given moments, beside another worker or alone."""

from __future__ import annotations

import statistics
import time
from typing import Any

from perf.balancer import Bench, check_nothing_lost
from perf.child import gate
from perf.live import build, grow, oracle_of
from perf.memory_loop import Block
from perf.tap import check_sample
from perf.watch import Watch, pin

SAMPLE = 32
PACE = 2.0  # a slot is PACE times as long as a round: time for the generator's own cost
SLOTS, TOGETHER = 3, 2  # slots of a round: first worker, second worker, both
BLOCK = 128 << 20  # bytes of memory whose lines are changed at random
MEMORY_REPEATS = 5
LATE = 0.02  # seconds after its moment in which a round must begin to count


def pace(seconds: float) -> float:
    """Length of a slot."""
    return seconds * PACE + 0.25


def _wait(moment: float) -> float:
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)
    return max(-left, 0.0)


def _round(bench: Bench, watch: Watch, iterations: int, late: float) -> dict[str, Any]:
    with watch:
        start = bench.tally()
        before = bench.bounce(iterations // 8)
        cycles = bench.run(iterations)
        after = bench.bounce(iterations // 8)
        packets = check_nothing_lost(start, bench.tally())
    trouble = watch.trouble or ("it began late" if late > LATE else "")
    return {
        "total": cycles / packets, "trouble": trouble, "crowded": watch.crowded,
        "source": (before[0] + after[0]) / (before[1] + after[1]),
    }  # fmt: skip


def _lines(watch: Watch, block: Block) -> float:
    """Cycles to change a line of memory."""
    with watch:
        costs = [block.changing() for _ in range(MEMORY_REPEATS)]
    return statistics.median(costs)


def slots(index: int) -> tuple[int, int]:
    """Slots of each three in which worker ``index`` (0, 1) runs: one alone, one beside the other.

    In turn, because neighbours on the machine come and go: what slows one slot slows the next.
    """
    return index, TOGETHER


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Rounds of this worker, alone and beside the other, from the moment the gate opens."""
    watch = Watch(pin(job["cpu"]))
    bench, source = build(job)
    block = Block(BLOCK)
    try:
        grow(bench, source, 0, job["sessions"])
        source.random(job["sessions"])
        oracle = oracle_of(job)
        compared = check_sample(bench, oracle, SAMPLE)
        ticks = bench.run(4000) / 4000
        iterations = max(64, int(job["seconds"] * bench.hz / ticks))
        block.changing()
        found: dict[int, list[dict[str, Any]]] = {slot: [] for slot in slots(job["index"])}
        begin = gate()
        for n in range(job["rounds"]):
            for slot in slots(job["index"]):
                late = _wait(begin + (n * SLOTS + slot) * pace(job["seconds"]))
                result = _round(bench, watch, iterations, late)
                found[slot].append({**result, "line": _lines(watch, block)})
        compared += check_sample(bench, oracle, SAMPLE)
        alone, both = found.values()
        return {"alone": alone, "both": both, "hz": bench.hz, "compared": compared}
    finally:
        bench.close()
