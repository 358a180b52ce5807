"""The machine a figure was measured on, and when."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def _cpu_field(name: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "unknown"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def commit() -> str:
    """Short name of the source version, with + when files were changed since."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    name = git("rev-parse", "--short", "HEAD")
    packages = ("runtime", "netdev", "stack", "ipvs", "perf")
    return f"{name or 'unknown'}{'+' if git('status', '--porcelain', '--', *packages) else ''}"


def describe() -> dict[str, Any]:
    """Everything about this machine that a reader of a figure wants to know."""
    from netdev import eal

    flags = _cpu_field("flags").split()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "cpu": _cpu_field("model name"),
        "cpus": os.cpu_count(),
        "cache": _cpu_field("cache size"),
        "virtual": "hypervisor" in flags,
        "memory_gib": round(_memory_gib(), 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "dpdk": eal.abi().release,
        "commit": commit(),
    }


def lines(machine: dict[str, Any]) -> list[str]:
    """The same for people."""
    kind = "virtual machine" if machine["virtual"] else "machine"
    return [
        f"{machine['date']}, commit {machine['commit']}",
        f"{machine['cpus']} x {machine['cpu']} ({kind}, cache {machine['cache']}), "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, DPDK {machine['dpdk']}, "
        f"Python {machine['python']}",
    ]
