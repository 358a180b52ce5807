"""A user-written scheduler as machine code: compiled once, then the same bytes for every worker."""

from __future__ import annotations

from typing import Any

import numba

from ipvs.user_source import SchedulerError, function_of
from runtime.flatten import Block, FlattenError, flatten
from runtime.jit import JIT


def compile_scheduler(source: str) -> Block:
    """Machine code of the scheduler in ``source``.  Raises SchedulerError.

    Takes about a second, most of it the compiler's start: nothing for a polling process.  What is
    called are parameters (result, exception, call, call, call): a compiled function's own.
    """
    function = function_of(source)
    if not JIT:
        raise SchedulerError("compilation is switched off (NUMBA_DISABLE_JIT)")
    number = numba.int64
    njit: Any = numba.njit
    try:
        made = njit(
            number(number, number, number),
            nogil=True, error_model="numpy", boundscheck=False,
            no_cpython_wrapper=True, no_cfunc_wrapper=True,
        )(function)  # fmt: skip
        (result,) = made.overloads.values()
        code = result.library._get_compiled_object()
        return flatten(code, result.fndesc.llvm_func_name)
    except (numba.core.errors.NumbaError, FlattenError) as error:
        first = str(error).strip().splitlines()[0]
        raise SchedulerError(f"line 1: it does not compile: {first}") from error
