"""One worker of ``workers``: rounds that begin at given moments, beside another worker or alone."""

from __future__ import annotations

import time
from typing import Any

from perf.balancer import Bench, check_nothing_lost
from perf.child import gate
from perf.live import build, grow, oracle_of
from perf.memory_loop import Block
from perf.rounds import undisturbed
from perf.tap import check_sample
from perf.watch import Watch, pin

SAMPLE = 32
PACE = 2.0  # a round begins every PACE times its length: time for the generator's own cost
BLOCK = 128 << 20  # bytes of memory whose lines are changed at random
MEMORY_ROUNDS = 25
LATE = 0.02  # seconds after its moment in which a round must begin to count


def pace(seconds: float) -> float:
    """Time from the beginning of one round to that of the next."""
    return seconds * PACE + 0.15


def _wait(moment: float) -> float:
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)
    return max(-left, 0.0)


def _round(bench: Bench, watch: Watch, iterations: int, late: float) -> dict[str, Any]:
    with watch:
        start = bench.tally()
        cycles = bench.run(iterations)
        packets = check_nothing_lost(start, bench.tally())
        spent, made = bench.bounce(iterations // 4)
    watch.crowded_rounds += watch.crowded
    trouble = watch.trouble or ("it began late" if late > LATE else "")
    return {"total": cycles / packets, "source": spent / made, "trouble": trouble}


def measure(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The phases of this worker; each waits for its turn at the gate."""
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
        phases = []
        for _ in range(job["phases"]):
            begin = gate()
            rounds = []
            for n in range(job["rounds"]):
                late = _wait(begin + n * pace(job["seconds"]))
                rounds.append(_round(bench, watch, iterations, late))
            _wait(begin + job["rounds"] * pace(job["seconds"]))
            lines = undisturbed(watch, MEMORY_ROUNDS, block.changing)
            phases.append({
                "rounds": rounds, "line": lines, "hz": bench.hz, "compared": compared,
                "crowded": watch.crowded_rounds,
            })  # fmt: skip
        check_sample(bench, oracle, SAMPLE)
        return phases
    finally:
        bench.close()
