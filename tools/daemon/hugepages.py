"""Reserve hugepages and mount hugetlbfs where the configuration needs them and they lack."""

from __future__ import annotations

import subprocess
from pathlib import Path

from netdev.eal import DpdkError

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
MOUNT = Path("/dev/hugepages")
PAGE = 2 << 20
SPARE = 256 << 20  # bytes of memory left to the rest of the host


def _number(name: str) -> int:
    return int((POOL / name).read_text())


def _mounted() -> bool:
    return any(
        line.split()[2] == "hugetlbfs" for line in Path("/proc/mounts").read_text().splitlines()
    )


def _available_memory() -> int:
    """Bytes that the kernel can give away without swapping."""
    with open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _grow(more: int) -> None:
    """Reserve ``more`` pages, or none: the kernel gives whatever it has, up to the last page."""
    if more * PAGE > _available_memory() - SPARE:
        return
    total, free = _number("nr_hugepages"), _number("free_hugepages")
    (POOL / "nr_hugepages").write_text(str(total + more))
    if _number("free_hugepages") < free + more:
        (POOL / "nr_hugepages").write_text(str(total))


def ensure(pages: int) -> int:
    """Make ``pages`` free 2 MB pages available; returns how many are free.

    Raises DpdkError with the command that would help when the kernel cannot give them; then it
    has as many as before.
    """
    try:
        if (free := _number("free_hugepages")) < pages:
            _grow(pages - free)
            free = _number("free_hugepages")
        if not _mounted():
            MOUNT.mkdir(exist_ok=True)
            command = ["mount", "-t", "hugetlbfs", "none", str(MOUNT)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise DpdkError(f"cannot mount hugetlbfs on {MOUNT}: {done.stderr.strip()}")
    except OSError as error:
        raise DpdkError(f"hugepages: {error}; run as root, see `dpvs doctor`") from error
    if free < pages:
        raise DpdkError(
            f"{pages} free hugepages of 2 MB needed, {free} available: free some memory and run "
            f"`echo {pages} > /proc/sys/vm/nr_hugepages`, or make conn_table_size smaller"
        )
    return free
