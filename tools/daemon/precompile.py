"""Compile the packet path into the cache, printing one progress line per function.

``python -m tools.daemon.precompile``; prints ``compiled N NAME`` lines and exits 0.  The master
runs it before the first worker, so that workers always start from a warm cache.  A second process
begins with other modules meanwhile; whoever comes second to a function loads it.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runtime import jit

# What the second process begins with, so that both seldom want the same function at a time.
APART = (
    "stack.ipv6",
    "ipvs.schedulers",
    "ipvs.rebuild",
    "ipvs.proxy_stream",
    "ipvs.create6",
    "ipvs.nat64",
    "ipvs.uoa",
    "ipvs.tunnel6",
    "ipvs.sctp",
    "ipvs.icmp64",
    "ipvs.slow6",
    "ipvs.operations",
    "ipvs.fragment",
)


def main() -> int:
    """Import every module of the path with compilation on; see the module's text."""
    if sys.argv[1:2] == ["--apart"]:
        jit.CLAIMS = Path(sys.argv[2])
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
    with tempfile.TemporaryDirectory(prefix="dpvs-claims-") as claims:
        if not jit.LAZY:
            jit.CLAIMS = Path(claims)
        beside = subprocess.Popen(
            [sys.executable, "-P", "-m", "tools.daemon.precompile", "--apart", claims]
        )
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
