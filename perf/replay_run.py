"""The measuring process of ``replay``: one capture file through the worker loop, for ever."""

from __future__ import annotations

import statistics
from typing import Any

from perf import network
from perf.balancer import Bench, check_nothing_lost, load
from perf.errors import PerfError
from perf.memory_loop import distance
from perf.oracle import Oracle
from perf.rounds import spread, undisturbed
from perf.tap import check_sample
from perf.watch import Watch, pin

SPARE = 8191  # mbufs beside those that hold the file: bursts on their way, cache of the pool
SAMPLE = 32  # bursts compared with the oracle, before and after measuring
BURST = 32


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Measure one file; see perf/replay.py for the job and perf/report.py for the result."""
    cpu = pin(job.get("cpu"))
    watch = Watch(cpu)
    mac = bytes.fromhex(job["mac"])
    services = [(proto, address, port) for proto, address, port in job["services"]]
    vdev = f"net_pcap0,rx_pcap={job['pcap']},infinite_rx=1"
    text = network.config(services, job["mode"], vdev, job["table"])
    bench = Bench(load(text, job["frames"] + SPARE), mac, name=job["name"])
    try:
        keys = {(network.number(address), port) for _, address, port in services}
        return _measure(bench, watch, Oracle(job["mode"], keys, mac), job)
    finally:
        bench.close()


def _measure(bench: Bench, watch: Watch, oracle: Oracle, job: dict[str, Any]) -> dict[str, Any]:
    once = job["frames"] // BURST + 1
    bench.run(1)  # sends the announcements of our addresses (RFC 5227) too
    before = bench.tally()
    bench.run(2 * once)
    check_nothing_lost(before, bench.tally())
    opened = bench.connections()
    compared = check_sample(bench, oracle, SAMPLE)
    ticks = bench.run(max(once, 2000)) / max(once, 2000)
    iterations = max(64, int(job["seconds"] * bench.hz / ticks))
    bare = max(64, int(job["seconds"] * bench.hz / 2 / (bench.bounce(2000)[0] / 2000)))

    def one() -> tuple[float, float]:
        spent, packets = bench.bounce(bare)
        start = bench.tally()
        cycles = bench.run(iterations)
        return cycles / check_nothing_lost(start, bench.tally()), spent / packets

    results = undisturbed(watch, job["rounds"], one)
    staged = [bench.stages(max(64, iterations // 4)) for _ in range(job["rounds"])]
    if bench.connections() != opened:
        raise PerfError(f"{opened} connections became {bench.connections()} while measuring")
    compared += check_sample(bench, oracle, SAMPLE)
    driver = spread([bare_cost for _, bare_cost in results])
    cycles = [cost for cost, _ in results]
    return {
        "connections": opened,
        "compared": compared,
        "hz": bench.hz,
        "memory": distance(),
        "crowded": watch.crowded_rounds,
        "stages": {name: statistics.median(one[name] for one in staged) for name in staged[0]},
        "cycles": spread(cycles),
        "driver": driver,
        "own": spread([max(cost - driver[1], 0.0) for cost in cycles]),
        "mpps": spread([bench.hz / cost / 1e6 for cost in cycles]),
    }
