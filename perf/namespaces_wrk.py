"""wrk: HTTP requests from a client's namespace."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from perf.errors import PerfError
from tools.lab_node import Node

# wrk calls this at the end; its own text rounds and needs parsing.
SCRIPT = """\
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'FIGURES {"requests": %d, "us": %d, "p50": %.1f, "p99": %.1f, "max": %.1f, "errors": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Figures:
    """Outcome of one run; times in milliseconds."""

    rate: float  # requests a second
    p50: float
    p99: float
    longest: float
    errors: int
    requests: int


def figures(text: str) -> Figures:
    """Read what SCRIPT printed.  Raises PerfError when it did not."""
    for line in text.splitlines():
        if line.startswith("FIGURES "):
            found = json.loads(line.removeprefix("FIGURES "))
            seconds = max(found["us"], 1) / 1e6
            return Figures(
                found["requests"] / seconds, found["p50"] / 1e3, found["p99"] / 1e3,
                found["max"] / 1e3, found["errors"], found["requests"],
            )  # fmt: skip
    last = (text.strip().splitlines() or ["no output"])[-1]
    raise PerfError(f"wrk gave no figures: {last}")


def need() -> None:
    """Raises PerfError when wrk is not installed."""
    if not shutil.which("wrk"):
        raise PerfError("there is no wrk on this machine; install it with `apt-get install wrk`")


def run(
    client: Node, folder: Path, url: str, seconds: int, connections: int, close: bool
) -> Figures:
    """Requests for so long; with ``close`` each on a connection of its own."""
    script = folder / "wrk.lua"
    script.write_text(SCRIPT)
    more = ["-H", "Connection: close"] if close else []
    done = client.call(
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s",
        "-s", str(script), *more, url, timeout=seconds + 30,
    )  # fmt: skip
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise PerfError(f"wrk failed: {said[0]}")
    return figures(done.stdout)
