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

from runtime import jit

MODULES = ("stack.ipv4", "ipvs.apply", "ipvs.loop")  # these import all others
MOST = 16  # processes


def _translated(number: int) -> tuple[str, bytes]:
    from runtime import program

    function: Any = jit.COMPILED[number]
    return function.symbol, program.unit_of(function)


def build() -> None:
    """Compile everything that MODULES define and store it.  Raises program.CompileError."""
    from runtime import frontend, program

    assert frontend  # loaded before the processes part
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
    from runtime import program

    if jit.JIT and not jit.PROGRAM.exists():
        for name in MODULES:
            importlib.import_module(name)
        try:
            build()
        except program.CompileError as problem:
            print(problem, file=sys.stderr)
            return 1
        jit.prune_cache()
    print(f"done in {time.monotonic() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
