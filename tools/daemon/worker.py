"""A worker process: DPDK secondary, one core, one endless compiled loop and its companion.

Started by the master (``python -m tools.daemon.worker JOB``), never by hand.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Collection
from functools import partial
from typing import Any

from runtime.shm import Segment, SegmentError
from runtime.supervise_child import WorkerProcess, WorkerSetupError, enter_worker
from tools.daemon import plan
from tools.daemon.companion import Companion
from tools.daemon.job import WorkerJob

_log = logging.getLogger(__name__)
ITERATIONS = 1 << 40  # of the compiled loop before it returns unasked


def serve(applier: Any, port: Any) -> None:
    """Register what the master may ask and tell."""
    from ipvs.apply import ApplyError
    from runtime.messages import Refused
    from tools.daemon import listing, template_list

    address = applier.worker.address

    def apply(kind: str, body: Any) -> None:
        try:
            applier.apply(kind, body)
        except ApplyError as error:
            raise Refused(-1, str(error)) from error

    for kind in applier.kinds:
        port.on(kind, partial(apply, kind))
    port.on("sync.begin", lambda body: applier.begin_snapshot())
    port.on("sync.end", lambda body: applier.end_snapshot())
    port.on(
        "conn.list",
        lambda body: listing.connections(
            address, body["cursor"], body["limit"], body.get("filter")
        ),
    )
    port.on(
        "template.list",
        lambda body: template_list.templates(
            address, body["cursor"], body["limit"], body.get("filter")
        ),
    )
    port.on(plan.BARRIER, lambda body: None)  # answered after everything before it was applied
    port.on("neigh.list", lambda body: listing.neighbours(address))


def receive_snapshot(process: WorkerProcess, applier: Any, port: Any) -> None:
    """Apply all that the master knows before the first packet: half of it would drop packets."""
    while not (port.synced and applier.snapshot is None) and not process.stop_requested:
        if not port.handle_some(64, 10000):
            time.sleep(0.001)


def poll(process: WorkerProcess, applier: Any, port: Any, polled: Collection[int]) -> str | None:
    """Run the compiled loop until told to stop; why, when not by the master."""
    from ipvs.context import Ipvs
    from ipvs.control import Control
    from ipvs.gate import ThreadGate
    from ipvs.loop import LEFT_STOP, run

    address = applier.worker.address
    Control(Ipvs(address).control).life = process.life_address
    applier.gate = ThreadGate(address)
    cpus = process.other_cpus - set(polled) or process.other_cpus
    companion = Companion(process, applier, port, cpus)
    companion.start()
    while run(address, ITERATIONS) != LEFT_STOP:
        pass
    return companion.failure


def start(job: WorkerJob, process: WorkerProcess) -> None:
    """Bring the path up and run it; raises DpdkError, SegmentError."""
    from ipvs.loop import run
    from netdev import eal
    from runtime.messages import Channel, WorkerPort
    from tools.daemon.build import build

    eal.start(job.eal)
    shared = Segment.attach(job.name, plan.shared_purpose(job.index))
    rings = Segment.attach(job.name, plan.channel_purpose(job.index))
    templates = Segment.attach(job.name, plan.TEMPLATES)
    applier = build(job, shared.address, templates.address)
    port = WorkerPort(Channel.attach(rings.address, rings))
    serve(applier, port)
    kept = applier.worker.recovered
    if kept:
        _log.warning("worker %d goes on with %d connections", job.index + 1, kept)
    # Machine code is loaded before packets wait for it.
    run(applier.worker.address, 0)
    receive_snapshot(process, applier, port)
    process.settle()
    process.ready()
    failure = poll(process, applier, port, job.worker_cpus)
    if failure:
        raise WorkerSetupError(failure)


def main() -> int:
    """Exit status 0 after a clean stop, 1 with one line on stderr when it cannot start."""
    from netdev.eal import DpdkError
    from runtime import log

    try:
        job = WorkerJob.from_text(sys.argv[1])
        process = enter_worker()
        log.setup(job.index + 1, job.log_level, job.log_file)
        start(job, process)
    except (DpdkError, SegmentError, WorkerSetupError, ValueError, IndexError) as error:
        print(f"dpvs worker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
