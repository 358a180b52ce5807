"""The process that ``flame`` records: an embedded balancer with all the traffic it can take.

``python -m perf.flame_load JOB``: prints ``ready`` on standard output when packets flow, and goes
on until standard input is closed.
"""

from __future__ import annotations

import json
import select
import sys
import time
from typing import Any

from perf import network, ways
from perf.balancer import load
from perf.errors import PerfError
from perf.watch import pin

SPARE = 8191  # mbufs beside those that hold the file
SLICE = 2000  # iterations of the loop between two looks at the clock


def _change(balancer: Any, number: int) -> None:
    """What a worker does for one replicated change: a neighbour with a new MAC address."""
    mac = f"02:cc:00:00:{number >> 8 & 255:02x}:{number & 255:02x}"
    body = {"addr": "198.19.0.99", "dev": 0, "mac": mac, "static": True}
    balancer.applier.apply("neigh.set", body)


def run(job: dict[str, Any]) -> None:
    """Replay ``job["pcap"]`` for ever, with ``job["changes"]`` changes a second."""
    from tools.daemon.embedded import Embedded

    cpu = pin(job["cpu"])
    vdev = f"net_pcap0,rx_pcap={job['pcap']},infinite_rx=1"
    family = ways.family_of(job)
    services = ways.services_of(job["proto"], family)
    lines = ways.commands(job["mode"], family, services, job["table"])
    text = network.text(lines, vdev, ways.slots_for(job["table"], family))
    balancer = Embedded(load(text, job["frames"] + SPARE), name=f"flame{cpu}", huge=True)
    try:
        _set_mac(balancer, bytes.fromhex(job["mac"]))
        balancer.commands()
        balancer.poll(job["frames"] // 16 + 100)
        if balancer.counters.cpu_counters(1)["opackets"] < job["frames"]:
            raise PerfError("the balancer does not forward the frames of the file")
        print("ready", flush=True)
        began, changed = time.monotonic(), 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            balancer.poll(SLICE)
            for _ in range(int((time.monotonic() - began) * job["changes"]) - changed):
                changed += 1
                _change(balancer, changed)
    finally:
        balancer.close()


def _set_mac(balancer: Any, mac: bytes) -> None:
    from ipvs.context import Ipvs
    from netdev.port import Port
    from stack.context import Stack

    Port(int(Stack(Ipvs(balancer.address).stack).ports[0])).mac = int.from_bytes(mac, "little")


def main() -> int:
    """See the module's text; exit status 1 with one line on standard error when it fails."""
    from netdev.eal import DpdkError
    from tools.daemon.commands import CommandFailed

    try:
        run(json.loads(sys.argv[1]))
    except (PerfError, DpdkError, CommandFailed, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
