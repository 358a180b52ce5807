"""The measuring process of ``schedulers``: new connections under one scheduler after the other."""

from __future__ import annotations

from typing import Any

from perf import network
from perf.fill_run import SAMPLE, opened_cost
from perf.live import build, oracle_of
from perf.rounds import spread, undisturbed
from perf.tap import check_sample
from perf.watch import Watch, pin


def compare(job: dict[str, Any]) -> dict[str, Any]:
    """Own cycles of a new connection by scheduler.

    The job names ``schedulers``, ``rounds``, how many ``attempts`` there may be to have them,
    connections ``at_once`` and a ``table`` for all of them, and in ``sources`` the text of those
    that are user-written.  Every round has a part for each scheduler, in turn, so whatever
    disturbs the machine and however full the table is, they share it.  Raises PerfError.
    """
    watch = Watch(pin(job.get("cpu")))
    names, rounds, at_once = job["schedulers"], job["rounds"], job["at_once"]
    bench, source = build(job)
    try:
        for name, text in job["sources"].items():
            bench.balancer.transport.call("sched.load", name=name, source=text, path="-")
        key = f"{network.SERVICE_OPTION[job['proto']]} {network.VIP}:{network.PORT}"
        first = 0

        def one() -> list[float]:
            nonlocal first
            costs = []
            for name in names:
                bench.balancer.command(f"ipvsadm -E {key} -s {name}")
                total, making = opened_cost(bench, source, first, at_once)
                first += at_once
                costs.append(total - making)
            return costs

        one()  # the first touch of tables and code
        done = undisturbed(watch, rounds, one, job["attempts"])
        source.random(first)
        compared = check_sample(bench, oracle_of(job), SAMPLE)
        return {
            "hz": bench.hz, "compared": compared, "crowded": watch.crowded_rounds,
            "set_aside": watch.set_aside,
            "own": {name: spread([costs[at] for costs in done]) for at, name in enumerate(names)},
            "ratio": {
                name: spread([costs[at] / costs[0] for costs in done])
                for at, name in enumerate(names)
            },
        }  # fmt: skip
    finally:
        bench.close()
