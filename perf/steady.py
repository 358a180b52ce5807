"""The rate of a balancer whose connections are open: rounds, and what the source costs of them."""

from __future__ import annotations

import statistics
from typing import Any

from perf.balancer import Bench, check_nothing_lost
from perf.memory_loop import near_block
from perf.rounds import spread, undisturbed
from perf.watch import Watch

CALIBRATION = 4000  # iterations


def rates(hz: int, cycles: list[float]) -> list[float]:
    """Mpps for minimum, median and maximum of cycles a packet, lowest first."""
    return [hz / cost / 1e6 for cost in reversed(cycles)]


def measure(bench: Bench, watch: Watch, seconds: float, rounds: int) -> dict[str, Any]:
    """``rounds`` undisturbed rounds of ``seconds``.  Raises PerfError when a packet was lost.

    Cycles a packet: ``total`` of the worker loop, ``source`` of receiving and sending alone (driver
    or generator), ``own`` their difference, each as minimum, median, maximum; ``memory``: how far
    away memory was meanwhile.
    """
    ticks = bench.run(CALIBRATION) / CALIBRATION
    iterations = max(64, int(seconds * bench.hz / ticks))
    bare = max(64, int(seconds / 4 * bench.hz * CALIBRATION / bench.bounce(CALIBRATION)[0]))
    crowded, aside = watch.crowded_rounds, watch.set_aside

    def one() -> tuple[float, float]:
        start = bench.tally()
        # The source is measured on both sides of the round: what slows the core slows both.
        before = bench.bounce(bare)
        cycles = bench.run(iterations)
        after = bench.bounce(bare)
        packets = check_nothing_lost(start, bench.tally())
        return cycles / packets, (before[0] + after[0]) / (before[1] + after[1])

    results = undisturbed(watch, rounds, one)
    own = spread([max(cost - source, 1.0) for cost, source in results])
    total = spread([cost for cost, _ in results])
    slower, aside = watch.crowded_rounds - crowded, watch.set_aside - aside
    block = near_block()
    return {
        "hz": bench.hz,
        "crowded": slower,
        "set_aside": aside,
        "total": total,
        "source": spread([source for _, source in results]),
        "own": own,
        "mpps": rates(bench.hz, total),
        "own_mpps": rates(bench.hz, own),
        "memory": undisturbed(watch, 1, block.costs)[0],
    }


def stages(bench: Bench, watch: Watch, rounds: int) -> dict[str, float]:
    """Median cycles a packet by stage, by the worker's own accounting."""
    found = undisturbed(watch, rounds, lambda: bench.stages(CALIBRATION))
    return {name: statistics.median(one[name] for one in found) for name in found[0]}
