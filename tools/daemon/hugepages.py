"""Reserve hugepages and mount hugetlbfs where the configuration needs them and they lack."""

from __future__ import annotations

import subprocess
from pathlib import Path

from netdev.eal import DpdkError

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
MOUNT = Path("/dev/hugepages")


def _number(name: str) -> int:
    return int((POOL / name).read_text())


def _mounted() -> bool:
    return any(
        line.split()[2] == "hugetlbfs" for line in Path("/proc/mounts").read_text().splitlines()
    )


def ensure(pages: int) -> int:
    """Make ``pages`` free 2 MB pages available; returns how many are free.

    Raises DpdkError with the command that would help when the kernel cannot give them.
    """
    try:
        free = _number("free_hugepages")
        if free < pages:
            total = _number("nr_hugepages")
            (POOL / "nr_hugepages").write_text(str(total + pages - free))
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
