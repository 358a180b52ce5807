"""Compile a user-written scheduler in a process of its own.

``python -m tools.daemon.scheduler_build`` reads the source from standard input and writes a msgpack
list [code, entry, fixups], or the mistake as text.  Whatever the compiler does with the source, it
happens neither to the master nor to a worker.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import msgpack

from tools.control.errors import Code, ControlError

SECONDS = 60.0  # longest compilation

Compiled = tuple[bytes, int, tuple[int, ...]]


async def compile_apart(source: str) -> Compiled:
    """Machine code of a scheduler.  ControlError (INVAL) tells the mistake in it."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tools.daemon.scheduler_build"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NUMBA_DISABLE_JIT": "0"},
    )
    try:
        output, _ = await asyncio.wait_for(child.communicate(source.encode()), SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()
        raise ControlError(Code.INVAL, f"not compiled within {SECONDS:.0f} s") from None
    if child.returncode != 0 or not output:
        raise ControlError(Code.INVAL, f"the compiler ended with status {child.returncode}")
    result = msgpack.unpackb(output)
    if isinstance(result, str):
        raise ControlError(Code.INVAL, result)
    code, entry, fixups = result
    return code, entry, tuple(fixups)


def compile_here(source: str) -> list[Any] | str:
    """The same in this process: [code, entry, fixups], or what is wrong."""
    from ipvs.user_code import compile_scheduler
    from ipvs.user_source import SchedulerError

    try:
        block = compile_scheduler(source)
    except SchedulerError as error:
        return str(error)
    return [block.code, block.entry, list(block.fixups)]


def main() -> int:
    """See the module's text."""
    result = compile_here(sys.stdin.buffer.read().decode(errors="replace"))
    sys.stdout.buffer.write(msgpack.packb(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
