"""Start the daemon that ``latency`` measures, steer its clocked port, and end it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perf.errors import PerfError
from perf.latency_nic import FLAT_OUT, FRAME, MOST, OFF, PACED, NicStruct
from perf.latency_worker import BLOCK, FLOWS
from tools.client import ControlClient, ControlError, DaemonDown, socket_path
from tools.launch import environment, tidy

ROOT = Path(__file__).resolve().parent.parent
SETTLE = 0.02  # seconds until packets on their way have left
SLOW = 1.5  # times the shortest look at the core's speed: turbo alone is less
STALL = 0.0005  # seconds
START_SECONDS = 600.0  # a first start compiles the packet path


class Measured:
    """A running daemon: ``control`` to operate it, ``nic`` to clock its port."""

    def __init__(self, name: str, nic: NicStruct, pid: int) -> None:
        self.name, self.nic, self.pid = name, nic, pid
        self.control = ControlClient(socket_path(name, {}))
        self.hz = int(self.control.call("accounting")["hz"])

    def worker(self) -> dict[str, int]:
        """All counters of the worker."""
        (named,) = self.control.call("counters")["workers"]
        (state,) = self.control.call("status")["workers"]
        return {**named["counters"], **{k: v for k, v in state.items() if isinstance(v, int)}}

    def prepare(self, depth: int, rate: float) -> None:
        """Set the clock to ``rate`` packets a second (0: as fast as they are taken)."""
        self.rest()
        nic = self.nic
        keep = (nic.rx_burst, nic.rx_queue, nic.tx_burst, nic.tx_queue, nic.fastest)
        ctypes.memset(ctypes.addressof(nic), 0, ctypes.sizeof(nic))
        nic.rx_burst, nic.rx_queue, nic.tx_burst, nic.tx_queue, nic.fastest = keep
        nic.limit = int(SLOW * nic.fastest) or MOST
        nic.stall = int(STALL * self.hz)
        nic.depth = depth
        if rate:
            nic.scale = int(rate / self.hz * 2**64)
            nic.spacing = round(self.hz / rate * 65536)

    def go(self, flat_out: bool = False) -> None:
        """Packets begin to arrive."""
        self.nic.mode = FLAT_OUT if flat_out else PACED

    def rest(self) -> None:
        """No more packets arrive; those on their way are let out."""
        self.nic.mode = OFF
        time.sleep(SETTLE)

    def waited(self) -> float:
        """Seconds since its start that the worker was ready to run while another program ran."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9

    def sample(self) -> list[tuple[bytes, bytes]]:
        """(received, sent) frames of the beginning of a round."""
        into, out = bytes(self.nic.frames_in), bytes(self.nic.frames_out)
        starts = range(0, min(int(self.nic.sampled), len(into) // FRAME) * FRAME, FRAME)
        return [(into[at : at + 60], out[at : at + 60]) for at in starts]


def _wait(reader: Any, process: subprocess.Popen[bytes]) -> None:
    """Until the daemon says that it is ready.  Raises PerfError."""
    for line in reader:
        word, _, rest = line.strip().partition(" ")
        if word == "ready":
            return
        if word == "failed":
            raise PerfError(rest)
    raise PerfError(f"the daemon ended with status {process.wait()}")


def _end(process: subprocess.Popen[bytes], name: str) -> None:
    with contextlib.suppress(ControlError, DaemonDown):
        ControlClient(socket_path(name, {})).call("stop")
    for action in (lambda: None, process.terminate, process.kill):
        action()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
            break
    tidy(name, failed=False)


@contextlib.contextmanager
def measured_daemon(config: str, flows: int) -> Iterator[Measured]:
    """A daemon with this configuration and one worker.  Raises PerfError."""
    name = f"perf{os.getpid()}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpvs-perf-")))
        (folder / "dpvs.conf").write_text(config)
        # In memory: writing a page of a disk's file can take milliseconds.
        block = stack.enter_context(tempfile.NamedTemporaryFile(dir="/dev/shm"))
        block.truncate(ctypes.sizeof(NicStruct))
        memory = mmap.mmap(block.fileno(), 0)
        read_end, write_end = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "perf.latency_master", name, str(folder / "dpvs.conf"),
             str(write_end)],
            pass_fds=(write_end,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env={**environment(), BLOCK: block.name, FLOWS: str(flows), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        os.close(write_end)
        stack.callback(_end, process, name)
        with os.fdopen(read_end) as reader:
            _wait(reader, process)
        nic = NicStruct.from_buffer(memory)
        try:
            control = ControlClient(socket_path(name, {}))
            (row,) = control.call("status")["workers"]
            control.close()
            yield Measured(name, nic, int(row["pid"]))
        except (ControlError, DaemonDown) as error:
            raise PerfError(str(error)) from error
