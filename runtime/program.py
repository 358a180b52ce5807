"""Machine code of the packet path: one program of all its functions, or one function by itself.

What numba translated (runtime/frontend.py) is linked into a single module and optimised once, so
LLVM inlines across the whole path and no function is optimised more often than there are copies of
it.  The result is an ELF object in the cache; processes that find it there load it and need neither
numba nor a compiler.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm
import msgpack

from runtime.jit import CACHE_DIR, COMPILED, PROGRAM, CompileError, Function

# LLVM turns copies and clears into calls of these (C library).
LIBRARY = frozenset({"memmove", "memcpy", "memset", "memcmp"})


@cache
def machine() -> llvm.TargetMachine:
    """The machine that code is made for: this very processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(),
        # Any distance: each section is mapped wherever there is room.
        opt=3, reloc="static", codemodel="large", jit=True,
    )  # fmt: skip


def unit_of(function: Function) -> bytes:
    """LLVM bitcode of one function, from the cache when it is there.  Raises CompileError."""
    path = CACHE_DIR / "units" / function.symbol
    if function.kept and path.exists():
        return path.read_bytes()
    from runtime.frontend import translate

    module = llvm.parse_assembly(translate(function))
    module.data_layout = str(machine().target_data)
    for variable in module.global_variables:
        if variable.name.startswith(".env."):
            variable.linkage = "internal"  # of no use without exceptions
    bitcode = module.as_bitcode()
    if function.kept:
        store(path, bitcode)
    return bitcode


def store(path: Path, content: bytes) -> None:
    """Write a file of the cache; others see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_bytes(content)
    new.rename(path)


def link(units: Iterable[bytes], known: Iterable[str] = ()) -> bytes:
    """The ELF object of several functions.

    Raises CompileError when code refers to what is neither part of it nor ``known``: what can raise
    or allocate does.
    """
    module = llvm.parse_assembly(f'target triple = "{llvm.get_process_triple()}"')
    module.data_layout = str(machine().target_data)
    for unit in units:
        module.link_in(llvm.parse_bitcode(unit))
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(machine(), tuning)
    builder.getModulePassManager().run(module, builder)
    module.verify()
    declared = {function.name for function in module.functions if function.is_declaration}
    lacking = {name for name in declared if not name.startswith("llvm.")} - LIBRARY.union(known)
    if lacking:
        users = [
            function.name for function in module.functions
            if not function.is_declaration and any(name in str(function) for name in lacking)
        ]  # fmt: skip
        raise CompileError(f"{', '.join(users)}: needs {', '.join(sorted(lacking))}")
    code: bytes = machine().emit_object(module)
    return code


def callees(unit: bytes) -> Iterator[Function]:
    """The functions of the path that a unit calls."""
    by_symbol = {f.symbol: f for f in COMPILED if isinstance(f, Function)}
    for function in llvm.parse_bitcode(unit).functions:
        if function.is_declaration and function.name in by_symbol:
            yield by_symbol[function.name]


def object_of(function: Function, known: Iterable[str] = ()) -> bytes:
    """ELF object of ``function`` and what it calls.

    Functions whose symbols are ``known`` stay outside, unless they are to be inlined.  Raises
    CompileError.
    """
    outside = frozenset(known)
    units: dict[str, bytes] = {}
    waiting = [function]
    while waiting:
        one = waiting.pop()
        if one.symbol in units or (one.symbol in outside and not one.inline):
            continue
        units[one.symbol] = unit_of(one)
        waiting += callees(units[one.symbol])
    return link(units.values(), outside)


def stored() -> tuple[list[str], bytes]:
    """Symbols and ELF object of the whole path from the cache, none and nothing without it."""
    try:
        content = msgpack.unpackb(PROGRAM.read_bytes())
    except FileNotFoundError:
        return [], b""
    with suppress(OSError):  # of another user; jit.prune_cache goes by the last use
        os.utime(CACHE_DIR)
    return content["symbols"], content["object"]


class _Loaded:
    """The machine code of this process."""

    def __init__(self) -> None:
        machine()
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
        symbols, code = stored()
        self.symbols = frozenset(symbols)
        if symbols:
            self.add(code)

    def add(self, code: bytes) -> None:
        self.engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self.engine.finalize_object()


@cache
def _loaded() -> _Loaded:
    return _Loaded()


def address_of(function: Function) -> int:
    """Where the machine code of ``function`` is in this process.  Raises CompileError."""
    loaded = _loaded()
    if function.symbol not in loaded.symbols:
        loaded.add(object_of(function, loaded.symbols))
    return int(loaded.engine.get_function_address(function.symbol))
