"""A worker's own set-up: its life block, its CPU, its stop flag, and no garbage collection.

``worker = enter_worker()`` first, ``worker.settle()`` and ``worker.ready()`` before the poll loop.
This module imports nothing heavy: a worker is replaced as fast as Python starts.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import threading
from dataclasses import dataclass, field

from runtime.heartbeat import LIFE_BYTES, READY, STOP_OFFSET, LifeBlock
from runtime.shm import Segment, SegmentError

LIFE_PURPOSE = "life"
ENV_INSTANCE, ENV_INDEX, ENV_CPU = "DPVS_WORKER_INSTANCE", "DPVS_WORKER_INDEX", "DPVS_WORKER_CPU"


class WorkerSetupError(Exception):
    """The process cannot be a worker; the text is one clear line."""


@dataclass
class WorkerProcess:
    """This process as a worker."""

    instance: str
    index: int
    cpu: int | None
    life_address: int
    """Address of the LifeBlock, for the compiled loop."""
    other_cpus: frozenset[int] = frozenset()
    """CPUs this process may use besides ``cpu``; empty: there are none."""
    _memory: object = field(default=None, repr=False)

    @property
    def life(self) -> LifeBlock:
        """The life block for ordinary Python."""
        return LifeBlock.from_address(self.life_address)

    @property
    def stop_requested(self) -> bool:
        """Whether TERM or INT has come."""
        return bool(self.life.stop)

    def beat(self) -> None:
        """One heartbeat, for loops that are not compiled."""
        self.life.heartbeat += 1

    def settle(self) -> None:
        """Collect garbage a last time, exempt what lives now, and switch the collector off.

        Handlers of messages free their objects by reference count; what forms cycles stays.
        """
        gc.collect()
        gc.freeze()
        gc.disable()

    def ready(self) -> None:
        """Tell the master that packets can come; from here on the heartbeat must advance."""
        self.life.state = READY


def enter_worker() -> WorkerProcess:
    """Set this process up as the worker that the supervisor's environment describes.

    From here on TERM and INT set ``life.stop``, also while compiled code runs.  Raises
    WorkerSetupError.  Call it from the main thread.
    """
    instance = os.environ.get(ENV_INSTANCE)
    index_text, cpu_text = os.environ.get(ENV_INDEX, ""), os.environ.get(ENV_CPU, "")
    if not instance or not index_text.isdecimal():
        raise WorkerSetupError("this program is started by the dpvs daemon, not by hand")
    index, cpu = int(index_text), int(cpu_text) if cpu_text.isdecimal() else None
    try:
        segment = Segment.attach(instance, LIFE_PURPOSE)
    except (SegmentError, ValueError) as problem:
        raise WorkerSetupError(f"worker {index}: {problem}") from None
    if (index + 1) * LIFE_BYTES > segment.size:
        raise WorkerSetupError(f"worker {index}: segment {segment.name} has no block for it")
    address = segment.address + index * LIFE_BYTES
    LifeBlock.from_address(address).pid = os.getpid()
    flag_termination(address + STOP_OFFSET)
    # After the signal thread has started: that one stays off the worker's CPU.
    others = frozenset(os.sched_getaffinity(0)) - {cpu}
    if cpu is not None:
        pin_to_cpu(cpu)
    return WorkerProcess(instance, index, cpu, address, others, segment)


def pin_to_cpu(cpu: int) -> None:
    """Bind the calling thread to ``cpu``; WorkerSetupError names the CPUs that may be used."""
    allowed = sorted(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, {cpu})
    except (OSError, ValueError, OverflowError):
        usable = ", ".join(map(str, allowed))
        raise WorkerSetupError(f"cannot run on CPU {cpu}: this process may use {usable}") from None


def flag_termination(address: int) -> None:
    """Have TERM and INT store 1 at ``address`` within moments, whatever the main thread does.

    A Python signal handler would wait until compiled code returns.  But the C handler underneath
    writes to the wake-up descriptor at once, and a thread that waits there sets the flag: the
    compiled loop does not hold the interpreter lock.
    """
    flag = ctypes.c_int64.from_address(address)
    caught = (signal.SIGTERM, signal.SIGINT)
    receive, send = os.pipe()
    os.set_blocking(send, False)

    def watch() -> None:
        while data := os.read(receive, 64):
            if any(number in caught for number in data):
                flag.value = 1

    def note(number: int, frame: object) -> None:
        flag.value = 1

    threading.Thread(target=watch, name="signals", daemon=True).start()
    signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    for number in caught:
        signal.signal(number, note)
