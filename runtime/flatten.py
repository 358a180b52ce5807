"""A compiled object made one block of bytes that runs wherever it is copied to.

A poor man's linker: code and constants are laid out behind each other, references among them are
filled in, and what needs the final address is listed.  Nothing from outside can be referred to, so
whoever runs the block needs no symbol table, no linker and no compiler.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from dataclasses import dataclass

import numpy as np

from runtime.perfmap_elf import RELA, RELOCATION, Elf

ALLOCATED = 2  # section flag SHF_ALLOC
EMPTY = 8  # section type SHT_NOBITS
ABSOLUTE, RELATIVE, CALL, UNSIGNED32, SIGNED32 = 1, 2, 4, 10, 11  # R_X86_64_*
SYMBOLS = 2
_NAMES_LEFT_OUT = (".eh_frame", ".note", ".comment")


class FlattenError(ValueError):
    """The object refers to something outside or in a way this linker does not know."""


@dataclass(frozen=True)
class Block:
    """``entry``: offset of the function; ``fixups``: of words that the address is added to."""

    code: bytes
    entry: int
    fixups: tuple[int, ...]


class _Layout:
    """Which sections of an object are in the block, and where."""

    def __init__(self, elf: Elf) -> None:
        self.elf = elf
        self.at: dict[int, int] = {}
        self.code = bytearray()

    def place(self, number: int) -> int:
        """Offset of a section in the block; it is appended when it is not in yet."""
        if number not in self.at:
            section = self.elf.sections[number]
            if not int(section["flags"]) & ALLOCATED:
                raise FlattenError("a reference to something that is not in memory")
            align = max(int(section["align"]), 1)
            self.code.extend(b"\0" * (-len(self.code) % align))
            self.at[number] = len(self.code)
            empty = int(section["type"]) == EMPTY
            self.code += bytes(int(section["size"])) if empty else bytes(self.elf.content(section))
        return self.at[number]


def flatten(data: bytes, function: str) -> Block:
    """The function called ``function`` of an ELF object with all it needs.  Raises FlattenError."""
    elf = Elf(data)
    table = next(s for s in elf.sections if int(s["type"]) == SYMBOLS)
    found = [symbol for symbol in elf.functions() if symbol.name == function]
    if len(found) != 1:
        raise FlattenError(f"no function {function}")
    layout = _Layout(elf)
    entry = layout.place(found[0].section) + found[0].value
    fixups: list[int] = []
    done: set[int] = set()
    while set(layout.at) - done:
        number = (set(layout.at) - done).pop()
        done.add(number)
        for rela in elf.sections:
            if int(rela["type"]) == RELA and int(rela["info"]) == number:
                for row in np.frombuffer(elf.content(rela), RELOCATION):
                    _resolve(elf, table, layout, layout.at[number], row, fixups)
    return Block(bytes(layout.code), entry, tuple(fixups))


def _resolve(
    elf: Elf, table: np.void, layout: _Layout, base: int, row: np.void, fixups: list[int]
) -> None:
    symbol = elf.symbol(table, int(row["symbol"]))
    if symbol.section == 0 or symbol.section >= len(elf.sections):
        raise FlattenError(f"it needs {symbol.name or 'something'} from outside")
    target = layout.place(symbol.section) + symbol.value + int(row["addend"])
    at, kind = base + int(row["offset"]), int(row["kind"])
    if kind == ABSOLUTE:
        struct.pack_into("<q", layout.code, at, target)
        fixups.append(at)
    elif kind in (RELATIVE, CALL):
        struct.pack_into("<i", layout.code, at, target - at)
    else:
        raise FlattenError(f"relocation of kind {kind}")


class Executable:
    """A block in memory, ready to be called; it stays for as long as this object lives."""

    def __init__(self, block: Block) -> None:
        self._memory = mmap.mmap(-1, max(len(block.code), 1))
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        ctypes.memmove(base, block.code, len(block.code))
        for at in block.fixups:
            word = ctypes.c_int64.from_address(base + at)
            word.value += base
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        size = -(-len(block.code) // mmap.PAGESIZE) * mmap.PAGESIZE
        if protect(ctypes.c_void_p(base), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "memory cannot be made executable")
        self.address = base + block.entry
