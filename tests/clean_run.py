"""Run a command and fail if it leaves anything behind: `clean_run.py [--limit S] -- COMMAND...`.

Every process that the command starts stays below this one, also when it detaches itself: this
process adopts orphans (prctl(2), PR_SET_CHILD_SUBREAPER). What is left at the end is named and
killed. New namespaces, shared memory, hugepage files and run-time directories are named.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
GRACE = 5.0  # seconds for processes that are on their way out
STATUS_LEFT_BEHIND = 3
STATUS_LIMIT = 124
# Place, pattern of names in it that would be ours, what to call them.
PLACES = (
    ("/run/netns", "dpvs-*", "namespace"),
    ("/dev/shm", "*dpvs*", "shared memory"),
    ("/dev/hugepages", "*", "hugepage file"),
    ("/run/dpdk", "*", "DPDK directory"),
    ("/run/dpvs", "*/*", "file of an instance"),
    ("/run/dpvs-lab", "*", "lab directory"),
    ("/sys/class/net", "*", "network interface"),
)
# An instance's lock stays on purpose (removing it would race), and with it the start-up messages.
STAYS = ("lock", "master.err")


def traces() -> set[str]:
    """What stands in PLACES now, as text for a message."""
    return {
        f"{kind} {path}"
        for place, pattern, kind in PLACES
        for path in Path(place).glob(pattern)
        if path.name not in STAYS
    }  # fmt: skip


def descendants() -> dict[int, str]:
    """Process id and command line of every living process below this one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    parents[int(entry.name)] = int(parent)

    def below(pid: int) -> Iterator[int]:
        for child, parent in parents.items():
            if parent == pid:
                yield child
                yield from below(child)

    found = {}
    for pid in below(os.getpid()):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found[pid] = b" ".join(words).decode(errors="replace").strip()[:120]
    return found


def reap() -> None:
    """Collect adopted processes that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def perform(command: list[str], limit: float) -> int:
    """Run the command to its end, or interrupt it after `limit` seconds; its exit status."""
    child = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    deadline = time.monotonic() + limit
    while True:
        try:
            return child.wait(timeout=max(deadline - time.monotonic(), 0))
        except KeyboardInterrupt:  # the command got it too, and ends in its own way
            deadline = min(deadline, time.monotonic() + 60)
        except subprocess.TimeoutExpired:
            print(f"not done within {limit:g} s: ended", file=sys.stderr)
            for sig in (signal.SIGINT, signal.SIGKILL):
                for pid in [child.pid, *descendants()]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, sig)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=20)
                    break
            return STATUS_LIMIT


def left_behind(before: set[str]) -> list[str]:
    """What is there now that was not before; processes among it are killed."""
    deadline = time.monotonic() + GRACE
    while (processes := descendants()) and time.monotonic() < deadline:
        reap()
        time.sleep(0.05)
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + GRACE
    while descendants() and time.monotonic() < deadline:
        time.sleep(0.02)
    reap()
    return [f"process {pid}: {line}" for pid, line in processes.items()] + sorted(traces() - before)


def main() -> int:
    """Read the command line, run, look."""
    parser = argparse.ArgumentParser(description="run a command and see what it leaves behind")
    parser.add_argument("--limit", type=float, default=3600, help="seconds it may take")
    parser.add_argument("command", nargs="+")
    wanted = parser.parse_args()
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        print(f"clean_run: prctl: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        return 1
    before = traces()
    try:
        status = perform(wanted.command, wanted.limit)
    except OSError as error:
        print(f"clean_run: {wanted.command[0]}: {error.strerror}", file=sys.stderr)
        return 1
    left = left_behind(before)
    for thing in left:
        print(f"left behind: {thing}", file=sys.stderr)
    return status or (STATUS_LEFT_BEHIND if left else 0)


if __name__ == "__main__":
    sys.exit(main())
