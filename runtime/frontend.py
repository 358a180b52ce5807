"""From a Python function to LLVM's intermediate code, by numba.

A compiled function has the plain C form ``int64 f(int64, ...)`` under its own name.  Each is
translated by itself: of what it calls only the name and the number of arguments are used, so any
number of processes can share the work.  runtime/program.py makes machine code of the results.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import typing
from numba.core.callconv import MinimalCallConv
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, Flags, compile_extra
from numba.core.compiler_machinery import PassManager
from numba.core.cpu import CPUContext
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.typing.templates import AbstractTemplate, signature
from numba.core.untyped_passes import (
    FixupArgs,
    IRProcessing,
    ReconstructSSA,
    TranslateByteCode,
)
from numba.extending import lower_builtin, typeof_impl

from runtime import perfmap_lines
from runtime.intrinsics import greatest, least
from runtime.jit import LINES, CompileError, Function
from runtime.lowering import Intrinsic
from runtime.numba_pointers import types

PASSES = (
    TranslateByteCode, FixupArgs, IRProcessing, ReconstructSSA, NopythonTypeInference,
    PreLowerStripPhis, IRLegalization, NativeLowering, NoPythonBackend,
)  # fmt: skip
# Code that raises refers to this symbol, which nothing defines.
RAISED = "dpvs.raises"
_INTRINSICS: dict[Intrinsic, Any] = {}


@typeof_impl.register(Function)
def _typeof_function(value: Function, context: Any) -> Any:
    result = signature(types.int64, *[types.int64] * value.count)
    return types.ExternalFunction(value.symbol, result)


@typeof_impl.register(Intrinsic)
def _typeof_intrinsic(value: Intrinsic, context: Any) -> Any:
    if value not in _INTRINSICS:
        operands = [types.int64] * value.count

        class Template(AbstractTemplate):
            key = value

            def generic(self, args: Any, kws: Any) -> Any:
                whole = all(isinstance(a, types.Integer | types.Boolean) for a in args)
                fits = len(args) == value.count and whole and not kws
                return signature(types.int64, *operands) if fits else None

        @lower_builtin(value, *operands)
        def implement(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            return value.lower(builder, *args)

        _INTRINSICS[value] = types.Function(Template)
    return _INTRINSICS[value]


class _PlainConvention(MinimalCallConv):
    """Arguments and result in registers, no exceptions."""

    def return_value(self, builder: ir.IRBuilder, retval: ir.Value) -> None:
        builder.ret(retval)

    def get_return_type(self, ty: Any) -> ir.Type:
        return self.context.data_model_manager[ty].get_return_type()

    def get_function_type(self, restype: Any, argtypes: Any) -> ir.FunctionType:
        arguments = self._get_arg_packer(argtypes).argument_types
        return ir.FunctionType(self.get_return_type(restype), list(arguments))

    def decorate_function(
        self, fn: ir.Function, args: Any, fe_argtypes: Any, noalias: bool = False
    ) -> None:
        names = ["arg." + name for name in args]
        self._get_arg_packer(fe_argtypes).assign_names(self.get_arguments(fn), names)

    def get_arguments(self, func: ir.Function) -> Any:
        return func.args

    def return_user_exc(self, builder: ir.IRBuilder, *what: Any, **more: Any) -> None:
        module = builder.module
        function = module.globals.get(RAISED)
        if function is None:
            function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), RAISED)
            function.attributes.add("noreturn")
        builder.call(function, [])
        builder.unreachable()

    def _return_errcode_raw(self, builder: ir.IRBuilder, code: Any) -> None:
        self.return_user_exc(builder)


class _Context(CPUContext):
    """The translation of one function at a time, ``symbol``."""

    symbol = ""
    DIBuilder = perfmap_lines.LineTables

    @property
    def call_conv(self) -> _PlainConvention:
        return _PlainConvention(self)

    def mangler(self, name: str, types: Any, *, abi_tags: Any = (), uid: Any = None) -> str:
        if name.startswith(".NumbaEnv"):
            return f".env.{self.symbol}"
        return self.symbol


class _Unit(JITCodeLibrary):
    """Keeps the module instead of compiling it."""

    text = ""

    def add_ir_module(self, ir_module: ir.Module) -> None:
        self.text = str(ir_module)


class _Pipeline(CompilerBase):
    def define_pipelines(self) -> Any:
        """Only the passes that code without closures, arrays and exceptions needs."""
        manager = PassManager("packet path")
        for one in PASSES:
            manager.add_pass(one, one.name())
        manager.finalize()
        return [manager]


class _Typing(typing.Context):
    """With intrinsics for the built-ins that numba compiles as functions of their own."""

    def resolve_value_type(self, val: Any) -> Any:
        """As numba's."""
        replaced = {min: least, max: greatest}.get(val) if callable(val) else None
        return super().resolve_value_type(replaced or val)


_typing = _Typing()
_context = _Context(_typing)


def translate(function: Function) -> str:
    """LLVM assembly of ``function``.  Raises CompileError for what it cannot express."""
    flags: Any = Flags()
    flags.boundscheck = False
    flags.error_model = "numpy"
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
    flags.forceinline = function.inline
    flags.release_gil = True
    if LINES:
        perfmap_lines.ask(flags)
    _context.symbol = function.symbol
    unit = _Unit(_context.codegen(), function.symbol)
    try:
        compile_extra(
            _typing, _context, function.py_func, (types.int64,) * function.count, types.int64,
            flags, {}, library=unit, pipeline_class=_Pipeline,
        )  # fmt: skip
    except Exception as error:  # besides its own, numba lets out what its parts raise
        raise CompileError(f"{function.symbol}: {error}") from error
    return unit.text
