"""One measurement, one process: DPDK starts once, and a crash takes nothing else along.

``python -m perf.child MODULE:FUNCTION JOB`` writes the function's result as JSON to descriptor
RESULT_FD.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from perf.errors import PerfError

ROOT = Path(__file__).resolve().parent.parent


class Child:
    """A measuring process that was started; ``result`` waits for it."""

    def __init__(self, function: str, job: dict[str, Any]) -> None:
        read, write = os.pipe()
        words = [sys.executable, "-m", "perf.child", function, str(write), json.dumps(job)]
        self._reader = read
        self._process = subprocess.Popen(
            words, cwd=ROOT, pass_fds=(write,), stdin=subprocess.DEVNULL
        )
        os.close(write)

    def result(self) -> Any:
        """What the function returned.  Raises PerfError with its error, or how it died."""
        with os.fdopen(self._reader) as stream:
            text = stream.read()
        status = self._process.wait()
        if not text:
            how = f"signal {-status}" if status < 0 else f"status {status}"
            raise PerfError(f"the measuring process ended with {how} and no result")
        answer = json.loads(text)
        if "error" in answer:
            raise PerfError(answer["error"])
        return answer["result"]

    def end(self) -> None:
        """Stop it if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


def in_child(function: str, job: dict[str, Any]) -> Any:
    """Run ``MODULE:FUNCTION`` on ``job`` in a process of its own; its result.  PerfError."""
    child = Child(function, job)
    try:
        return child.result()
    finally:
        child.end()


def main() -> int:
    """See the module's text."""
    from netdev.eal import DpdkError
    from tools.daemon.commands import CommandFailed

    function, fd, job = sys.argv[1:4]
    module, _, name = function.partition(":")
    try:
        result = getattr(importlib.import_module(module), name)(json.loads(job))
        answer = {"result": result}
    except (PerfError, DpdkError, CommandFailed, OSError) as error:
        answer = {"error": " ".join(str(error).split())}
    with os.fdopen(int(fd), "w") as stream:
        json.dump(answer, stream)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
