"""What this machine lacks for labs and DPDK: `python -m tools.lab_needs` prints one line each."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

PROGRAMS = {
    "ip": "iproute2",
    "ss": "iproute2",
    "sysctl": "procps",
    "ethtool": "ethtool",
    "nginx": "nginx-light",
    "curl": "curl",
    "ping": "iputils-ping",
    "iperf3": "iperf3",
}
HUGE_DIR = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
DPDK_DIRS = ("/usr/lib/*-linux-gnu/dpdk/pmds-*", "/usr/lib*/dpdk/pmds-*", "/usr/local/lib*/dpdk/*")


def free_hugepages() -> int:
    """Number of free 2 MB pages."""
    try:
        return int((HUGE_DIR / "free_hugepages").read_text())
    except OSError:
        return 0


def dpdk_missing() -> list[str]:
    """Sentences on what keeps DPDK's tap driver from being loaded."""
    for pattern in DPDK_DIRS:
        if any(Path("/").glob(f"{pattern.lstrip('/')}/librte_net_tap.so*")):
            return []
    return ["no DPDK tap driver (librte_net_tap) is installed"]


def lab_missing() -> list[str]:
    """Sentences on what keeps network namespaces and their servers from working."""
    missing = []
    if os.geteuid() != 0:
        missing.append("not root")
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            missing.append(f"no {program} (Debian package {package})")
    if not Path("/proc/self/ns/net").exists():
        missing.append("the kernel has no network namespaces")
    if not Path("/dev/net/tun").exists():
        missing.append("the kernel has no tap interfaces (/dev/net/tun)")
    return missing


def hugepages_missing(pages: int = 256) -> list[str]:
    """Sentences on what keeps a DPDK process with `pages` 2 MB pages from starting."""
    missing = []
    if free_hugepages() < pages:
        missing.append(f"{free_hugepages()} free hugepages of 2 MB, needs {pages}")
    with open("/proc/mounts") as mounts:
        if not any(line.split()[2] == "hugetlbfs" for line in mounts):
            missing.append("no hugetlbfs is mounted (mount -t hugetlbfs none /dev/hugepages)")
    return missing


def missing() -> list[str]:
    """Everything that labs with a running balancer lack here; empty when they can run."""
    return lab_missing() + dpdk_missing() + hugepages_missing()


def main() -> None:
    """Print what is missing; exit status 1 when something is."""
    lacking = missing()
    for line in lacking:
        print(line)
    sys.exit(1 if lacking else 0)


if __name__ == "__main__":
    main()
