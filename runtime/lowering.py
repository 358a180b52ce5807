"""Turn a pair (plain Python function, LLVM builder) into one name usable in both modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, signature
from numba.extending import lower_builtin, typeof_impl

from runtime.jit import JIT

I64 = ir.IntType(64)
I8P = ir.IntType(8).as_pointer()


def pointer_of(builder: ir.IRBuilder, address: ir.Value, width: int) -> ir.Value:
    """``address`` as a typed LLVM pointer to an integer of ``width`` bytes."""
    return builder.inttoptr(address, ir.IntType(width * 8).as_pointer())


class Intrinsic:
    """A callable that runs ``python`` in the interpreter and ``lower`` in compiled code."""

    def __init__(self, name: str, count: int, python: Callable[..., int]) -> None:
        self.__name__ = name
        self.count = count
        self.python = python

    def __call__(self, *arguments: int) -> int:
        return self.python(*arguments)

    def __repr__(self) -> str:
        return f"<intrinsic {self.__name__}>"


_TEMPLATES: dict[int, Any] = {}


def register(callee: Any, template: type[AbstractTemplate]) -> None:
    """Let numba type ``callee`` (a global of compiled code) by ``template``."""
    _TEMPLATES[id(callee)] = types.Function(template)


@typeof_impl.register(Intrinsic)
def _typeof_intrinsic(value: Intrinsic, context: Any) -> Any:
    return _TEMPLATES[id(value)]


def define(
    name: str, count: int, python: Callable[..., int], lower: Callable[..., ir.Value]
) -> Any:
    """An intrinsic of ``count`` int64 operands and an int64 result.

    ``python(*ints) -> int`` defines it in the interpreter; ``lower(builder, *values)`` emits the
    same as LLVM instructions.
    """
    if not JIT:
        return python
    callee = Intrinsic(name, count, python)

    class Template(AbstractTemplate):
        key = callee

        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) != count or kws:
                return None
            if not all(isinstance(a, types.Integer | types.Boolean) for a in args):
                return None
            return signature(types.int64, *([types.int64] * count))

    Template.__name__ = f"Template_{name}"
    register(callee, Template)

    @lower_builtin(callee, *([types.int64] * count))
    def implement(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return lower(builder, *args)

    return callee
