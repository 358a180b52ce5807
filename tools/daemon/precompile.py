"""Compile the packet path into the cache, printing one progress line per function.

``python -m tools.daemon.precompile``; prints ``compiled N NAME`` lines and exits 0.  The master
runs it before the first worker, so that workers always start from a warm cache.  All CPUs
translate; linking and optimising is a few seconds on one.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import msgpack

from runtime import jit, program

MOST = 16  # processes


def load_everything() -> None:
    """Import every module that machine code can come from."""
    for package in jit.PACKAGES:
        for path in sorted((jit.ROOT / package).glob("**/*.py")):
            importlib.import_module(".".join(path.relative_to(jit.ROOT).with_suffix("").parts))


def _translated(number: int) -> tuple[str, bytes]:
    function: Any = jit.COMPILED[number]
    return function.symbol, program.unit_of(function)


def build() -> None:
    """Compile everything that is loaded and store it.  Raises jit.CompileError."""
    importlib.import_module("runtime.frontend")  # before the processes part
    processes = min(MOST, os.cpu_count() or 1)
    context = multiprocessing.get_context("fork")
    units: dict[str, bytes] = {}
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for symbol, unit in pool.map(_translated, range(len(jit.COMPILED)), chunksize=4):
            units[symbol] = unit
            print(f"compiled {len(units)} {symbol}", flush=True)
    print("optimising", flush=True)
    code = program.link(units.values())
    program.store(jit.PROGRAM, msgpack.packb({"symbols": list(units), "object": code}))


def main() -> int:
    """Import every module of the path and compile it; see the module's text."""
    began = time.monotonic()
    if jit.JIT and not jit.PROGRAM.exists():
        load_everything()
        try:
            build()
        except jit.CompileError as problem:
            print(problem, file=sys.stderr)
            return 1
        jit.prune_cache()
    print(f"done in {time.monotonic() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
