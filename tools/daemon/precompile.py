"""Compile the packet path into the cache, printing one progress line per function.

``python -m tools.daemon.precompile``; prints ``compiled N NAME`` lines and exits 0.  The master
runs it before the first worker, so that workers always start from a warm cache.
"""

from __future__ import annotations

import time

from runtime import jit


def main() -> int:
    """Import every module of the path with compilation on; see the module's text."""
    began = time.monotonic()
    count = 0

    def progress(name: str) -> None:
        nonlocal count
        count += 1
        print(f"compiled {count} {name}", flush=True)

    jit.PROGRESS = progress
    import ipvs.apply
    import ipvs.loop  # noqa: F401

    jit.mark_complete()
    jit.prune_cache()
    print(f"done in {time.monotonic() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
