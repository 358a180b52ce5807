"""The rules of the packet path, checked on the machine code itself.

The object that runtime/program.py makes holds all functions of the path.  Every use of something
outside of it is a relocation with a symbol's name; ``outside`` lists those.  From that list follows
what the compiled path cannot do, whatever its source looked like:

- no symbol NRT_* (numba's reference counting and heap), malloc or free: nothing allocates;
- no symbol Py* or numba_*: the interpreter is neither called nor its lock needed;
- not dpvs.raises (runtime/frontend.py): no exception is ever raised.

What is left are memory functions of the C library.  Calls through a pointer (DPDK's bursts,
runtime.intrinsics.callN) have no symbol.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import llvmlite.binding as llvm

from runtime.program import LIBRARY

SYMBOL = struct.Struct("<IBBHQQ")  # Elf64_Sym
RELOCATION = struct.Struct("<QQq")  # Elf64_Rela
FUNCTION, UNDEFINED = 2, 0


class ObjectError(ValueError):
    """What is no object in the expected form."""


def _sections(code: bytes) -> dict[str, bytes]:
    if code[:4] != b"\x7fELF":
        raise ObjectError("not an ELF object")
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
    functions = [s for s in symbols if s[1] == FUNCTION and s[2] != UNDEFINED]
    if not functions or len({s[2] for s in functions}) != 1:
        raise ObjectError("functions are not all in one section")
    text = ".ltext" if parts.get(".ltext") else ".text"  # the former in the large code model
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
    """Symbol -> functions using it, of all that the code of an object needs from outside."""
    own = {s[0] for s in _symbols(_sections(code)) if s[2] != UNDEFINED}
    result: dict[str, set[str]] = {}
    for function, symbol in uses(code):
        if symbol and symbol not in own:
            result.setdefault(symbol, set()).add(function)
    return result


def forbidden(code: bytes) -> list[str]:
    """What of ``outside`` breaks the rules: lines "symbol used by function"; empty when clean."""
    return sorted(
        f"{symbol} used by {function}"
        for symbol, functions in outside(code).items()
        for function in functions
        if symbol not in LIBRARY
    )
