"""Linux perf: record a process, and read what was recorded."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from perf.errors import PerfError

STACK = 8192  # bytes of each sample's stack that are kept, to unwind C functions
HARDWARE, SOFTWARE = "cycles", "cpu-clock"
_FRAME = re.compile(r"^\s+([0-9a-f]+) (.*) \((.*)\)$")
_OFFSET = re.compile(r"\+0x[0-9a-f]+$")


@dataclass(frozen=True)
class Frame:
    """One frame of a sample: address, symbol ("" when unknown), file it is in."""

    address: int
    symbol: str
    file: str


def need() -> None:
    """Raises PerfError when something that recording takes is not installed."""
    for program, package in (("perf", "linux-perf"), ("addr2line", "binutils")):
        if not shutil.which(program):
            raise PerfError(
                f"there is no {program} on this machine; install it with "
                f"`apt-get install {package}`"
            )


def _perf(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["perf", *words], capture_output=True, text=True, check=False)


def event() -> str:
    """The cycle counter of the hardware if there is one, else the software clock."""
    done = _perf("stat", "-x,", "-e", HARDWARE, "--", "true")
    counted = done.returncode == 0 and "not supported" not in done.stderr + done.stdout
    return HARDWARE if counted and "not counted" not in done.stderr else SOFTWARE


def record(pid: int, seconds: float, frequency: int, chosen: str, target: Path) -> None:
    """Sample a process for so long into ``target``.  Raises PerfError."""
    done = _perf(
        "record", "-q", "-e", chosen, "-F", str(frequency), "--call-graph", f"dwarf,{STACK}",
        "-p", str(pid), "-o", str(target), "--", "sleep", str(seconds),
    )  # fmt: skip
    if done.returncode != 0 or not target.exists():
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise PerfError(f"perf record failed: {said[0] if said else 'no message'}")


def samples(lines: Iterable[str]) -> Iterator[list[Frame]]:
    """Stacks, innermost frame first, of what ``perf script`` prints."""
    stack: list[Frame] = []
    for line in lines:
        if match := _FRAME.match(line):
            address, symbol, file = match.groups()
            name = "" if symbol.startswith("[unknown]") else _OFFSET.sub("", symbol)
            stack.append(Frame(int(address, 16), name, file))
        elif stack:
            yield stack
            stack = []
    if stack:
        yield stack


def read(source: Path) -> list[list[Frame]]:
    """The samples in a recording.  Raises PerfError when there are none."""
    done = _perf("script", "-i", str(source), "-F", "pid,time,ip,sym,symoff,dso")
    found = list(samples(done.stdout.splitlines()))
    if not found:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise PerfError(f"perf recorded no samples{f': {said[0]}' if said else ''}")
    return found
