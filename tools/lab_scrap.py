"""What a lab leaves on the system: finding it, and ending exactly that."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

from runtime.shm_instance import RUN_ROOT
from tools.lab_node import call

STATE_DIR = Path("/run/dpvs-lab")
NETNS_DIR = Path("/run/netns")
LOCK = "lock"
LAB_NAME = re.compile(r"[a-z0-9]{1,24}")


def netns_name(lab: str, node: str) -> str:
    """The namespace of `node` in `lab`; a lab's name has no "-", so it can be read back."""
    return f"dpvs-{lab}-{node}"


def instance(lab: str) -> str:
    """The name of the balancer in `lab`; the prefix keeps it apart from an operator's own."""
    return f"lab-{lab}"


def kept_mark(lab: str) -> Path:
    """The file that says that a lab is to outlive the program that built it."""
    return STATE_DIR / lab / "kept"


def kept(lab: str) -> bool:
    """Whether `lab` runs on without the program that built it."""
    return kept_mark(lab).exists()


def namespaces(lab: str | None = None) -> list[str]:
    """Namespaces of `lab`, or of every lab."""
    name = re.compile(rf"dpvs-{lab or LAB_NAME.pattern}-.+")
    if not NETNS_DIR.is_dir():
        return []
    return sorted(path.name for path in NETNS_DIR.iterdir() if name.fullmatch(path.name))


def residents(netns: str) -> list[int]:
    """Process ids inside a namespace. A lab's namespaces hold nothing but the lab's processes."""
    return [int(word) for word in call(["ip", "netns", "pids", netns]).stdout.split()]


def process_name(pid: int) -> str:
    """Short command name of a process, "?" when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def alive(pid: int) -> bool:
    """Whether the process exists and is more than a zombie waiting for its parent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def end(pids: list[int], grace: float = 20.0) -> None:
    """End processes: SIGTERM, and SIGKILL for those still there after `grace` seconds."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        deadline = time.monotonic() + grace
        while (pids := [pid for pid in pids if alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not pids:
            return


def leftovers(lab: str | None = None) -> list[str]:
    """One sentence for each thing of `lab` (default: of any lab) that exists now."""
    found = []
    for netns in namespaces(lab):
        found.append(f"namespace {netns}")
        for pid in residents(netns):
            found.append(f"process {pid} ({process_name(pid)}) in namespace {netns}")
    if STATE_DIR.is_dir():
        found += [
            f"directory {path}"
            for path in sorted(STATE_DIR.iterdir())
            if lab is None or path.name == lab
        ]
    run_dirs = RUN_ROOT.glob(instance(lab or "*"))
    return found + [f"directory {path}" for path in sorted(run_dirs)]


def clear(lab: str) -> None:
    """End the processes in the namespaces of `lab`, remove the namespaces, empty its directory.

    The directory's lock stays, for whoever holds it. Works from what the system shows, not from
    memory, so it also ends a lab whose owner died.
    """
    for netns in namespaces(lab):
        end(residents(netns))
        call(["ip", "netns", "del", netns])
    for path in (STATE_DIR / lab).glob("*"):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def sweep(lab: str) -> None:
    """End and remove everything of `lab`: processes, namespaces, directories."""
    clear(lab)
    shutil.rmtree(STATE_DIR / lab, ignore_errors=True)
    # A daemon leaves its lock file there for the next one of its name; here comes none.
    shutil.rmtree(RUN_ROOT / instance(lab), ignore_errors=True)
    with contextlib.suppress(OSError):  # other labs may be there
        STATE_DIR.rmdir()
