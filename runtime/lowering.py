"""Turn a pair (plain Python function, LLVM builder) into one name usable in both modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from runtime.jit import JIT

I64 = ir.IntType(64)
I8P = ir.IntType(8).as_pointer()


def pointer_of(builder: ir.IRBuilder, address: ir.Value, width: int) -> ir.Value:
    """``address`` as a typed LLVM pointer to an integer of ``width`` bytes."""
    return builder.inttoptr(address, ir.IntType(width * 8).as_pointer())


class Intrinsic:
    """A callable that runs ``python`` in the interpreter and ``lower`` in compiled code."""

    def __init__(
        self, name: str, count: int, python: Callable[..., int], lower: Callable[..., ir.Value]
    ) -> None:
        self.__name__ = name
        self.count = count
        self.python = python
        self.lower = lower

    def __call__(self, *arguments: int) -> int:
        return self.python(*arguments)

    def __repr__(self) -> str:
        return f"<intrinsic {self.__name__}>"


def define(
    name: str, count: int, python: Callable[..., int], lower: Callable[..., ir.Value]
) -> Any:
    """An intrinsic of ``count`` int64 operands and an int64 result.

    ``python(*ints) -> int`` defines it in the interpreter; ``lower(builder, *values)`` emits the
    same as LLVM instructions.
    """
    return Intrinsic(name, count, python, lower) if JIT else python
