"""Compile the packet path into the cache, printing one progress line per function.

``python -m tools.daemon.precompile``; prints ``compiled N NAME`` lines and exits 0.  The master
runs it before the first worker, so that workers always start from a warm cache.  A second process
compiles modules that need little of the others meanwhile; whoever comes second loads them.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time

from runtime import jit

# In this order: each needs only what stands before it and a few small functions of others.
APART = (
    "runtime.wheel",
    "runtime.ring_core",
    "runtime.pointer_ring",
    "ipvs.rss",
    "ipvs.laddr",
    "ipvs.dest",
    "ipvs.service",
    "ipvs.maglev",
    "ipvs.conhash",
    "ipvs.user_call",
    "ipvs.schedulers",
    "ipvs.table",
    "ipvs.pairs",
    "stack.route",
    "stack.route6",
    "stack.exthdr",
    "ipvs.create",
    "ipvs.expire",
    "ipvs.rebuild",
)


def main() -> int:
    """Import every module of the path with compilation on; see the module's text."""
    if sys.argv[1:] == ["--apart"]:
        for name in APART:
            importlib.import_module(name)
        return 0
    began = time.monotonic()
    count = 0

    def progress(name: str) -> None:
        nonlocal count
        count += 1
        print(f"compiled {count} {name}", flush=True)

    jit.PROGRESS = progress
    beside = subprocess.Popen([sys.executable, "-P", "-m", "tools.daemon.precompile", "--apart"])
    for name in ("stack.ipv4", "ipvs.apply", "ipvs.loop"):
        importlib.import_module(name)
    if beside.wait() != 0:
        return 1
    jit.mark_complete()
    jit.prune_cache()
    print(f"done in {time.monotonic() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
