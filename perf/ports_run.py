"""The measuring process of ``ports``: connections come and go through one local address."""

from __future__ import annotations

import time
from typing import Any

from ipvs.context import Ipvs
from ipvs.laddr import PORTS_OF_ONE, LaddrStats
from ipvs.table import Table
from perf import network
from perf.balancer import check_nothing_lost, services_of
from perf.errors import PerfError
from perf.live import BURST, source_over
from perf.watch import pin

TIMEOUT = 1  # seconds without a packet
PATIENCE = 60.0  # seconds for all of them to end
IDLE = 2000  # iterations between two looks


def through_one(job: dict[str, Any]) -> dict[str, Any]:
    """Open and let end ``connections`` connections, as many at a time as there are ports for.

    Raises PerfError when one was refused, or when a port or an entry did not come back.
    """
    pin(job.get("cpu"))
    # Ports are pooled by real server: each port of the address serves one connection to each.
    room = len(network.SERVERS) * PORTS_OF_ONE // 2 // BURST * BURST
    lines = network.commands(services_of("udp"), "fullnat", network.LOCALS[:1])
    bench, source = source_over(
        job | {"mode": "fullnat", "proto": "udp", "timeout": TIMEOUT, "table": 2 * room}, lines
    )
    try:
        w = Ipvs(bench.address)
        table, local = Table(w.table), LaddrStats(w.laddr_stats)
        ports, opened, waits = int(local.free), 0, []
        while opened < job["connections"]:
            count = min(room, -(-(job["connections"] - opened) // BURST) * BURST)
            source.in_order(opened, count)
            before = bench.tally()
            bench.run(count // BURST)
            if check_nothing_lost(before, bench.tally()) != count:
                raise PerfError(f"not all of {count} connections were opened")
            opened += count
            highest = int(local.used)
            began = time.monotonic()
            while table.count:
                if time.monotonic() - began > PATIENCE:
                    raise PerfError(f"{table.count} connections did not end")
                bench.run(IDLE)
            waits.append(time.monotonic() - began)
            if local.used != 0 or local.free != ports or highest > count:
                raise PerfError(
                    f"after {opened} connections {local.used} ports are in use and {local.free} of "
                    f"{ports} free"
                )
        return {
            "opened": opened, "at_once": room, "ports": ports, "free": int(local.free),
            "entries": int(table.count), "expired": int(table.expired), "waits": sorted(waits),
        }  # fmt: skip
    finally:
        bench.close()
