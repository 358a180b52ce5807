"""A user-written scheduler as machine code: compiled once, then the same bytes for every worker."""

from __future__ import annotations

from ipvs.user_source import SchedulerError, function_of
from runtime.flatten import Block, FlattenError, flatten
from runtime.jit import JIT, CompileError, Function


def compile_scheduler(source: str) -> Block:
    """Machine code of the scheduler in ``source``: int64 f(call, call, call).

    Takes about a second, most of it the compiler's start: nothing for a polling process.  Raises
    SchedulerError.
    """
    python = function_of(source)
    if not JIT:
        raise SchedulerError("compilation is switched off (NUMBA_DISABLE_JIT)")
    from runtime.program import object_of

    function = Function(python, inline=False)
    try:
        return flatten(object_of(function), function.symbol)
    except (CompileError, FlattenError) as error:
        first = str(error).strip().splitlines()[0]
        raise SchedulerError(f"line 1: it does not compile: {first}") from error
