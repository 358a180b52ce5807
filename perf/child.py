"""One measurement, one process: DPDK starts once, and a crash takes nothing else along.

``python -m perf.child MODULE:FUNCTION FD JOB PARENT`` writes what the function returned to
descriptor FD, as a line of JSON.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from netdev import eal
from netdev.eal import DpdkError
from perf.errors import PerfError
from runtime.supervise_launch import die_with_parent
from tools.daemon.plan import file_prefix
from tools.tidy_end import ending_tidily

ROOT = Path(__file__).resolve().parent.parent
_numbers = itertools.count(1)


def check_cpu(cpu: int | None) -> None:
    """PerfError when this process may not run on ``cpu``."""
    allowed = os.sched_getaffinity(0)
    if cpu is not None and cpu not in allowed:
        raise PerfError(f"--cpu {cpu}: this process may use {', '.join(map(str, sorted(allowed)))}")


class Child:
    """A measuring process that was started; ``result`` waits for it.

    The function finds a DPDK instance name of its own in ``job["name"]``.
    """

    def __init__(self, function: str, job: dict[str, Any]) -> None:
        check_cpu(job.get("cpu"))
        read, write = os.pipe()
        self._name = f"perf{os.getpid()}-{next(_numbers)}"
        text = json.dumps({**job, "name": self._name})
        words = [sys.executable, "-m", "perf.child", function, str(write), text, str(os.getpid())]
        self._reader = os.fdopen(read)
        self._finished = False
        # A group of its own: a terminal's Ctrl-C is for us, who end it then.
        self._process = subprocess.Popen(
            words, cwd=ROOT, pass_fds=(write,), stdin=subprocess.PIPE, process_group=0
        )
        os.close(write)

    def _line(self) -> Any:
        text = self._reader.readline()
        if not text:
            status = self._process.wait()
            how = f"signal {-status}" if status < 0 else f"status {status}"
            raise PerfError(f"the measuring process ended with {how} and no result")
        answer = json.loads(text)
        if "error" in answer:
            self._finished = True
            raise PerfError(answer["error"])
        return answer["result"]

    def ready(self) -> None:
        """Wait until the function waits at its ``gate``.  PerfError when it failed before."""
        self._line()

    def go(self, moment: float) -> None:
        """Let it pass the gate at ``moment`` (time.monotonic)."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{moment}\n".encode())
        self._process.stdin.flush()

    def result(self) -> Any:
        """What the function returned.  Raises PerfError with its error, or how it died."""
        found = self._line()
        self._finished = True
        return found

    def end(self) -> None:
        """Stop it if it still runs; remove what DPDK leaves of a killed process."""
        assert self._process.stdin is not None
        if not self._finished:
            self._process.kill()
        self._process.stdin.close()
        self._reader.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        eal.remove_files(file_prefix(self._name))


def _say(answer: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # nobody wants it any more
        os.write(int(sys.argv[2]), json.dumps(answer).encode() + b"\n")


def gate() -> float:
    """In a measuring process: wait for the others; the moment (time.monotonic) to begin at."""
    _say({"result": "ready"})
    line = sys.stdin.readline()
    if not line:
        raise PerfError("the benchmark was ended")
    return float(line)


def in_child(function: str, job: dict[str, Any]) -> Any:
    """Run ``MODULE:FUNCTION`` on ``job`` in a process of its own; its result.  PerfError."""
    with ending_tidily():
        child = Child(function, job)
        try:
            return child.result()
        finally:
            child.end()


def main() -> int:
    """See the module's text."""
    from tools.daemon.commands import CommandFailed

    function, _, job, parent = sys.argv[1:]
    module, _, name = function.partition(":")
    try:
        die_with_parent(int(parent))
        _say({"result": getattr(importlib.import_module(module), name)(json.loads(job))})
    except (PerfError, DpdkError, CommandFailed, OSError) as error:
        _say({"error": " ".join(str(error).split())})
    return 0


if __name__ == "__main__":
    # One module, not two: what the function imports from perf.child is this very program.
    sys.modules["perf.child"] = sys.modules["__main__"]
    raise SystemExit(main())
