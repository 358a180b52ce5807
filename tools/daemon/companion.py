"""The second thread of a worker process: everything that needs the interpreter.

The main thread polls in compiled code and holds no interpreter lock.  This one reads the master's
messages, turns records into operations for the poller, answers questions about the tables, and
tells the master what the packet path noticed.  It runs on the CPUs that are not the poller's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection
from typing import Any

from runtime.ring import RingCorrupt
from runtime.supervise_child import WorkerProcess

_log = logging.getLogger(__name__)

MESSAGES = 64  # handled before events are looked at again
BUDGET_US = 5000
NAP, LONG_NAP = 0.0002, 0.002  # seconds between looks: lately busy, and long idle
AWAKE = 100  # empty looks before naps become long


class Companion(threading.Thread):
    """Serves ``port`` and the events of ``applier``'s worker until the process ends.

    What it cannot go on after (a ring beyond repair, a poller that does not answer) stops the
    worker; ``failure`` is the reason then.
    """

    def __init__(
        self, process: WorkerProcess, applier: Any, port: Any, cpus: Collection[int] = ()
    ) -> None:
        super().__init__(name="companion", daemon=True)
        self._process, self._applier, self._port, self._cpus = process, applier, port, cpus
        self.failure: str | None = None

    def run(self) -> None:
        """As Thread."""
        from ipvs.context import Ipvs
        from ipvs.gate import GateClosed
        from stack.context import Stack

        if self._cpus:
            os.sched_setaffinity(0, self._cpus)
        events = int(Stack(Ipvs(self._applier.worker.address).stack).events)
        idle = 0
        try:
            while not self._process.stop_requested:
                done = self._port.handle_some(MESSAGES, BUDGET_US)
                done += emit_events(events, self._port)
                idle = 0 if done else idle + 1
                time.sleep(NAP if idle < AWAKE else LONG_NAP)
        except (RingCorrupt, GateClosed) as problem:
            if not self._process.stop_requested:
                self.failure = str(problem)
                self._process.life.stop = 1


def emit_events(queue: int, port: Any) -> int:
    """Tell the master what the packet path noticed; how much it was."""
    from stack import events

    names = {
        events.NEIGHBOUR_LEARNT: "neigh.learnt",
        events.NEIGHBOUR6_LEARNT: "neigh.learnt",
        events.ADDRESS_CONFLICT: "addr.conflict",
        events.ADDRESS6_CONFLICT: "addr.conflict",
        events.ADDRESS6_DUPLICATE: "addr.duplicate",
        events.MLD_QUERIER: "mld.querier",
    }
    drained = events.drain(queue)
    for kind, a, b, c in drained:
        port.emit(names[kind], event_body(kind, a, b, c))
    return len(drained)


def event_body(kind: int, a: int, b: int, c: int) -> dict[str, Any]:
    """What an event of the packet path says: addr, mac, dev; dev, v1, robustness of a querier."""
    from ipaddress import IPv4Address

    from stack.address6 import text
    from stack.events import ADDRESS_CONFLICT, MLD_QUERIER, NEIGHBOUR_LEARNT

    if kind == MLD_QUERIER:
        return {"dev": a, "v1": b, "robustness": c}
    if kind in (NEIGHBOUR_LEARNT, ADDRESS_CONFLICT):
        address, mac, dev = str(IPv4Address(a)), b, c
    else:
        address, mac, dev = text(a, b), c & 0xFFFFFFFFFFFF, c >> 48 & 0xFFFF
    return {"addr": address, "mac": mac.to_bytes(6, "little").hex(":"), "dev": dev}
