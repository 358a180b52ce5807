"""The measuring process of ``replay``: one capture file through the worker loop, for ever."""

from __future__ import annotations

from typing import Any

from perf import network, steady, ways
from perf.balancer import Bench, check_nothing_lost, load
from perf.errors import PerfError
from perf.oracle import Oracle
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
    text = network.text(
        ways.commands(job["mode"], job["family"], services, job["table"]), vdev,
        ways.slots_for(job["table"], job["family"]),
    )  # fmt: skip
    bench = Bench(load(text, job["frames"] + SPARE), mac, name=job["name"])
    try:
        oracle = ways.oracle(job["mode"], job["family"], services, mac, job["table"])
        return _measure(bench, watch, oracle, job)
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
    result = steady.measure(bench, watch, job["seconds"], job["rounds"])
    result["stages"] = steady.stages(bench, watch, job["rounds"])
    if bench.connections() != opened:
        raise PerfError(f"{opened} connections became {bench.connections()} while measuring")
    compared += check_sample(bench, oracle, SAMPLE)
    return {"connections": opened, "compared": compared, **result}
