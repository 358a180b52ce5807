"""The measuring process of ``scale``: a table that grows, random packets over what is in it."""

from __future__ import annotations

import time
from typing import Any

from perf.balancer import Bench, check_nothing_lost
from perf.errors import PerfError
from perf.live import build, grow, oracle_of
from perf.memory_loop import distance
from perf.rounds import spread, undisturbed
from perf.tap import check_sample
from perf.watch import Watch, pin

SETTLE = 4.5  # seconds: every new connection comes up once, 3 s after it was opened (conn_init)
SAMPLE = 64  # bursts compared with the oracle, before and after each case


def settle(bench: Bench) -> None:
    """Run until the timer wheel has seen every new connection once, as in a daemon that is up."""
    until = time.monotonic() + SETTLE
    while time.monotonic() < until:
        bench.run(20000)


def measure_case(bench: Bench, watch: Watch, seconds: float, rounds: int) -> dict[str, Any]:
    """Rates with the generator as it is set; its own cost is measured between the rounds."""
    ticks = bench.run(4000) / 4000
    iterations = max(64, int(seconds * bench.hz / ticks))
    bare = max(64, int(seconds / 4 * bench.hz / (bench.bounce(4000)[0] / 4000)))
    crowded = watch.crowded_rounds

    def one() -> tuple[float, float]:
        start = bench.tally()
        # The generator is measured on both sides of the round: what slows the core slows both.
        before = bench.bounce(bare)
        cycles = bench.run(iterations)
        after = bench.bounce(bare)
        packets = check_nothing_lost(start, bench.tally())
        return cycles / packets, (before[0] + after[0]) / (before[1] + after[1])

    results = undisturbed(watch, rounds, one)
    own = [max(cost - source, 1.0) for cost, source in results]
    return {
        "hz": bench.hz,
        "crowded": watch.crowded_rounds - crowded,
        "total": spread([cost for cost, _ in results]),
        "source": spread([source for _, source in results]),
        "own": spread(own),
        "mpps": spread([bench.hz / cost / 1e6 for cost in own]),
    }


def measure(job: dict[str, Any]) -> list[dict[str, Any]]:
    """All sizes of one mode; see perf/scale.py for the job."""
    watch = Watch(pin(job.get("cpu")))
    bench, source = build(job)
    try:
        oracle = oracle_of(job)
        results, live = [], 0
        for sessions in sorted(job["sessions"]):
            grow(bench, source, live, sessions - live)
            live = sessions
            source.random(sessions, seed=sessions)
            settle(bench)
            compared = check_sample(bench, oracle, SAMPLE)
            case = measure_case(bench, watch, job["seconds"], job["rounds"])
            if bench.connections() != sessions:
                raise PerfError(f"{sessions} connections became {bench.connections()}")
            compared += check_sample(bench, oracle, SAMPLE)
            results.append(
                {"sessions": sessions, "compared": compared, "memory": distance(), **case}
            )
        return results
    finally:
        bench.close()
