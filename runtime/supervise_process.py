"""One worker process: how it is started, and how its end is noticed at once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime import supervise_launch
from runtime.supervise_child import ENV_CPU, ENV_INDEX, ENV_INSTANCE

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class WorkerSpec:
    """What to run as worker ``index``: ``python -m module arguments``.

    ``cpu`` is the processor to pin it to (None: any), ``aslr`` whether its addresses may be
    randomised (not for DPDK secondaries), ``environment`` is added to the master's.
    """

    index: int
    module: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    cpu: int | None = None
    aslr: bool = False


def command_of(spec: WorkerSpec) -> list[str]:
    """The command line: the launcher, then the worker's interpreter."""
    return [
        sys.executable,
        "-I",
        "-S",
        supervise_launch.__file__,
        str(os.getpid()),
        "aslr" if spec.aslr else "noaslr",
        sys.executable,
        "-P",
        "-m",
        spec.module,
        *spec.arguments,
    ]


def environment_of(spec: WorkerSpec, instance: str) -> dict[str, str]:
    """The worker's environment; the folder of this package leads its module path."""
    result = {**os.environ, **spec.environment}
    path = result.get("PYTHONPATH")
    result["PYTHONPATH"] = f"{_ROOT}{os.pathsep}{path}" if path else str(_ROOT)
    result[ENV_INSTANCE], result[ENV_INDEX] = instance, str(spec.index)
    result[ENV_CPU] = "" if spec.cpu is None else str(spec.cpu)
    return result


def exit_reason(status: int) -> str:
    """Words for a return code of subprocess: the exit status or the signal."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


class Process:
    """A started worker; ``on_exit`` is called in the event loop as soon as it has ended.

    Raises OSError when it cannot be started.  It is killed by the kernel when the master dies, and
    has a process group of its own, so that Ctrl-C in a terminal reaches only the master.
    """

    def __init__(self, spec: WorkerSpec, instance: str, on_exit: Callable[[], None]) -> None:
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._child = subprocess.Popen(
            command_of(spec),
            env=environment_of(spec, instance),
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        self.pid = self._child.pid
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            self.kill()
            self._child.wait()
            raise
        self._loop.add_reader(self._pidfd, self._ended)

    def _ended(self) -> None:
        self._child.wait()
        self.forget()
        self._on_exit()

    def forget(self) -> None:
        """Stop watching.  Idempotent."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    @property
    def status(self) -> int | None:
        """Return code as of subprocess; None while the process runs."""
        return self._child.returncode

    def terminate(self) -> None:
        """Ask it to stop (TERM); nothing when it has ended."""
        self._child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now (KILL); nothing when it has ended."""
        self._child.send_signal(signal.SIGKILL)

    def reap(self) -> None:
        """Kill it and wait for its end, without the event loop: for an interrupted supervisor."""
        self.kill()
        self._child.wait()
        self.forget()
