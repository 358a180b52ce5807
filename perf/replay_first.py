"""Run a capture file once through the path and keep what comes out."""

from __future__ import annotations

from typing import Any

from perf import network, ways
from perf.balancer import Bench, load
from perf.watch import pin

BUFFERS = 8191


def forward_once(job: dict[str, Any]) -> int:
    """Replay ``pcap`` into ``sent``; packets received."""
    pin(job.get("cpu"))
    vdev = f"net_pcap0,rx_pcap={job['pcap']},tx_pcap={job['sent']}"
    services = [(proto, address, port) for proto, address, port in job["services"]]
    text = network.text(
        ways.commands(job["mode"], job["family"], services, job["table"]), vdev,
        ways.slots_for(job["table"], job["family"]),
    )  # fmt: skip
    bench = Bench(load(text, BUFFERS), bytes.fromhex(job["mac"]), name=job["name"])
    try:
        total = 0
        while True:
            before = bench.tally().received
            bench.run(64)
            got = bench.tally().received - before
            total += got
            if got == 0:
                return total
    finally:
        bench.close()
