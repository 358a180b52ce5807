"""The rules of the packet path, checked on the machine code that numba made.

numba links everything a function calls into the function's own object, which its cache keeps.  In
the object of the outermost function (ipvs.loop.run) every use of something outside is a
relocation with a symbol's name.  ``outside`` lists those of the native code alone, leaving out the
wrapper through which the interpreter enters.  From that list follows what the compiled path cannot
do, whatever its source looked like:

- no symbol NRT_* (numba's reference counting and heap), malloc or free: nothing allocates;
- no symbol Py* or numba_*: the interpreter is neither called nor its lock needed;
- no pickled exception (.const.picklebuf...): no exception is ever raised.

What is left are calls of other functions in the same object and memory functions of the C library.
Calls through a pointer (DPDK's bursts, runtime.intrinsics.callN) have no symbol.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

# memmove, memcpy, memset, memcmp: LLVM emits them for copies and clears.
ALLOWED = frozenset({"memmove", "memcpy", "memset", "memcmp"})
WRAPPER = "_ZN7cpython"  # mangled namespace of the wrappers called by the interpreter
SYMBOL = struct.Struct("<IBBHQQ")  # Elf64_Sym
RELOCATION = struct.Struct("<QQq")  # Elf64_Rela
FUNCTION, UNDEFINED = 2, 0


class ObjectError(ValueError):
    """A cache file that does not hold an object in the expected form; the text names it."""


def object_of(path: Path) -> bytes:
    """The ELF object in one numba cache file (.nbc); ObjectError when there is none."""
    try:
        content = pickle.loads(path.read_bytes())
        _, kind, data = content[0]
        code = data[0]
    except (pickle.UnpicklingError, EOFError, IndexError, TypeError, ValueError) as error:
        raise ObjectError(f"{path}: not a compiled function: {error}") from error
    if kind != "object" or bytes(code[:4]) != b"\x7fELF":
        raise ObjectError(f"{path}: no ELF object inside")
    return bytes(code)


def _sections(code: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for section in llvm.ObjectFileRef.from_data(code).sections():
        name: Any = section.name()
        found[name.decode() if isinstance(name, bytes) else str(name)] = section.data()
    return found


def _symbols(parts: dict[str, bytes]) -> list[tuple[str, int, int, int, int]]:
    """(name, type, section, value, size) of every symbol."""
    names = parts[".strtab"]
    result = []
    for name, info, _, section, value, size in SYMBOL.iter_unpack(parts[".symtab"]):
        text = names[name : names.index(b"\0", name)].decode()
        result.append((text, info & 15, section, value, size))
    return result


def uses(code: bytes) -> Iterator[tuple[str, str]]:
    """(function, symbol) for every use of a symbol by a function of an object.

    Raises ObjectError when a use lies in no function (nothing may escape the check).
    """
    parts = _sections(code)
    symbols = _symbols(parts)
    # All code is in one section: .ltext (large code model) or .text.
    text = ".ltext" if parts.get(".ltext") else ".text"
    functions = [s for s in symbols if s[1] == FUNCTION and s[2] != UNDEFINED]
    if not functions or len({s[2] for s in functions}) != 1:
        raise ObjectError("functions are not all in one section")
    for offset, info, addend in RELOCATION.iter_unpack(parts.get(f".rela{text}", b"")):
        owner = [s[0] for s in functions if s[3] <= offset < s[3] + s[4]]
        if len(owner) != 1:
            raise ObjectError(f"relocation at {offset:#x} belongs to no function")
        name, _, section, _, _ = symbols[info >> 32]
        yield owner[0], name or _inside(symbols, section, addend)


def _inside(symbols: list[tuple[str, int, int, int, int]], section: int, addend: int) -> str:
    """Name of the data at ``addend`` of a section (relocations may name the section only)."""
    for name, _, where, value, size in symbols:
        if name and where == section and value <= addend < value + max(size, 1):
            return name
    return ""


def outside(code: bytes) -> dict[str, set[str]]:
    """Symbol -> functions using it, of all that native code of an object needs from outside.

    Constants of the object itself count as outside when they are pickled exceptions; functions in
    the object do not.
    """
    own = {s[0] for s in _symbols(_sections(code)) if s[2] != UNDEFINED}
    result: dict[str, set[str]] = {}
    for function, symbol in uses(code):
        if function.startswith(WRAPPER) or not symbol:
            continue
        if symbol not in own or "picklebuf" in symbol:
            result.setdefault(symbol, set()).add(function)
    return result


def forbidden(code: bytes) -> list[str]:
    """What of ``outside`` breaks the rules: lines "symbol used by function"; empty when clean."""
    return sorted(
        f"{symbol} used by {function}"
        for symbol, functions in outside(code).items()
        for function in functions
        if symbol not in ALLOWED
    )


def compiled_files(cache: Path, module: str, function: str) -> list[Path]:
    """Cache files of a function's machine code (one per signature) in numba's cache folder."""
    return sorted(cache.glob(f"**/{module}.{function}-*.nbc"))
