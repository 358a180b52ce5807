"""The worker of ``latency``: the daemon's own, with a clocked port before its driver.

Started by the master in place of tools.daemon.worker; $DPVS_LATENCY_BLOCK is the shared file.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

from tools.daemon import worker

BLOCK = "DPVS_LATENCY_BLOCK"
FLOWS = "DPVS_LATENCY_FLOWS"


def _install(address: int) -> list[Any]:
    """Put generator and clock before the first port; what must stay alive."""
    from ipvs.context import Ipvs
    from netdev.port import Port
    from perf.generator import Source
    from perf.latency_nic import Installed
    from stack.context import Stack

    with open(os.environ[BLOCK], "r+b") as file:
        block = mmap.mmap(file.fileno(), 0)
    port = int(Stack(Ipvs(address).stack).ports[0])
    p = Port(port)
    p.rx_queue = p.tx_queue = 0
    source = Source(port, "udp", int(p.mac).to_bytes(8, "little")[:6])
    source.random(int(os.environ[FLOWS]))
    nic = ctypes.addressof(ctypes.c_char.from_buffer(block))
    return [block, source, Installed(port, nic)]


def main() -> int:
    """As tools.daemon.worker."""
    poll = worker.poll

    def measured(process: Any, applier: Any, port: Any, polled: Any) -> str | None:
        kept = _install(applier.worker.address)
        failure = poll(process, applier, port, polled)
        del kept
        return failure

    worker.poll = measured
    return worker.main()


if __name__ == "__main__":
    raise SystemExit(main())
