"""Start and end the process that ``flame`` records."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipvs.table import table_bytes
from perf import ways
from perf.errors import PerfError
from perf.flame_load import SPARE
from perf.huge import pages_for, reserved

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def loaded_worker(job: dict[str, Any]) -> Iterator[int]:
    """Pid of a worker under the load of ``job`` (see perf/flame_load.py).  Raises PerfError."""
    environment = {**os.environ, "DPVS_PERF_LINES": "1"}
    words = [sys.executable, "-m", "perf.flame_load", json.dumps(job)]
    slots = ways.slots_for(job["table"], ways.family_of(job))
    with reserved(pages_for(job["frames"] + SPARE, table_bytes(slots))):
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None and process.stderr is not None
            if process.stdout.readline().strip() != "ready":
                said = process.stderr.read().strip().splitlines()
                raise PerfError(said[-1] if said else "the worker ended at once")
            yield process.pid
        finally:
            with contextlib.suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
