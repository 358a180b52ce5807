"""The measuring process of ``scale``: a table that grows, random packets over what is in it."""

from __future__ import annotations

import time
from typing import Any

from perf import steady
from perf.balancer import Bench
from perf.errors import PerfError
from perf.live import build, grow, oracle_of
from perf.tap import check_sample
from perf.watch import Watch, pin

SETTLE = 4.5  # seconds: every new connection comes up once, 3 s after it was opened (conn_init)
SAMPLE = 64  # bursts compared with the oracle, before and after each case


def settle(bench: Bench) -> None:
    """Run until the timer wheel has seen every new connection once, as in a daemon that is up."""
    until = time.monotonic() + SETTLE
    while time.monotonic() < until:
        bench.run(20000)


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
            case = steady.measure(bench, watch, job["seconds"], job["rounds"])
            if bench.connections() != sessions:
                raise PerfError(f"{sessions} connections became {bench.connections()}")
            compared += check_sample(bench, oracle, SAMPLE)
            results.append({"sessions": sessions, "compared": compared, **case})
        return results
    finally:
        bench.close()
