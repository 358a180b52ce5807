"""As much of 64-bit ELF as finding functions in it takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

HEADER = np.dtype(
    [
        ("ident", "S16"), ("type", "<u2"), ("machine", "<u2"), ("version", "<u4"),
        ("entry", "<u8"), ("phoff", "<u8"), ("shoff", "<u8"), ("flags", "<u4"),
        ("ehsize", "<u2"), ("phentsize", "<u2"), ("phnum", "<u2"), ("shentsize", "<u2"),
        ("shnum", "<u2"), ("shstrndx", "<u2"),
    ]
)  # fmt: skip
SECTION = np.dtype(
    [
        ("name", "<u4"), ("type", "<u4"), ("flags", "<u8"), ("addr", "<u8"), ("offset", "<u8"),
        ("size", "<u8"), ("link", "<u4"), ("info", "<u4"), ("align", "<u8"), ("entsize", "<u8"),
    ]
)  # fmt: skip
SEGMENT = np.dtype(
    [
        ("type", "<u4"), ("flags", "<u4"), ("offset", "<u8"), ("vaddr", "<u8"), ("paddr", "<u8"),
        ("filesz", "<u8"), ("memsz", "<u8"), ("align", "<u8"),
    ]
)  # fmt: skip
SYMBOL = np.dtype(
    [
        ("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"),
        ("size", "<u8"),
    ]
)  # fmt: skip
RELOCATION = np.dtype([("offset", "<u8"), ("kind", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])

MAGIC = b"\x7fELF\x02\x01"
SYMTAB, RELA, DYNSYM = 2, 4, 11
LOAD = 1
FUNCTION = 2


@dataclass(frozen=True)
class Symbol:
    """A named place: ``value`` is an offset in its section (object files) or an address."""

    name: str
    section: int
    value: int
    size: int


class Elf:
    """An ELF file or memory image in ``data``.  Raises ValueError when it is none."""

    def __init__(self, data: Any) -> None:
        self.data = memoryview(data)
        if len(self.data) < HEADER.itemsize or bytes(self.data[:6]) != MAGIC:
            raise ValueError("not a 64-bit little-endian ELF file")
        self.header = np.frombuffer(self.data, HEADER, 1)[0]
        try:
            self.sections = self._array(SECTION, "shoff", "shnum")
            self.segments = self._array(SEGMENT, "phoff", "phnum")
        except ValueError as error:
            raise ValueError(f"an ELF file cut short: {error}") from error

    def _array(self, dtype: np.dtype, offset: str, count: str) -> np.ndarray:
        if not self.header[count]:
            return np.empty(0, dtype)
        return np.frombuffer(self.data, dtype, int(self.header[count]), int(self.header[offset]))

    def content(self, section: np.void) -> memoryview:
        """Bytes of a section."""
        at = int(section["offset"])
        return self.data[at : at + int(section["size"])]

    def _text(self, table: np.void, at: int) -> str:
        begin = int(table["offset"]) + at
        raw = bytes(self.data[begin : begin + 512])
        return raw[: max(raw.find(b"\0"), 0)].decode(errors="replace")

    @cached_property
    def names(self) -> list[str]:
        """Names of the sections, in order."""
        if not len(self.sections):
            return []
        table = self.sections[int(self.header["shstrndx"])]
        return [self._text(table, int(section["name"])) for section in self.sections]

    def section(self, name: str) -> np.void | None:
        """The section called ``name``."""
        return self.sections[self.names.index(name)] if name in self.names else None

    def symbol(self, table: np.void, number: int) -> Symbol:
        """Entry ``number`` of a symbol table section."""
        row = np.frombuffer(self.content(table), SYMBOL)[number]
        name = self._text(self.sections[int(table["link"])], int(row["name"]))
        return Symbol(name, int(row["shndx"]), int(row["value"]), int(row["size"]))

    def functions(self) -> list[Symbol]:
        """All functions defined here that have a size."""
        found = []
        for table in self.sections:
            if table["type"] in (SYMTAB, DYNSYM):
                rows = np.frombuffer(self.content(table), SYMBOL)
                code = (rows["info"] & 15 == FUNCTION) & (rows["shndx"] != 0) & (rows["size"] > 0)
                found += [self.symbol(table, int(number)) for number in np.flatnonzero(code)]
        return found

    def find(self, name: str) -> int | None:
        """Value of the symbol ``name``; quick in large tables, its text is looked for first."""
        for table in self.sections:
            if table["type"] not in (SYMTAB, DYNSYM):
                continue
            texts = bytes(self.content(self.sections[int(table["link"])]))
            at = texts.find(b"\0" + name.encode() + b"\0")
            if at >= 0:
                rows = np.frombuffer(self.content(table), SYMBOL)
                hits = rows[(rows["name"] == at + 1) & (rows["shndx"] != 0)]
                if len(hits):
                    return int(hits[0]["value"])
        return None

    def bias(self, mapped: int, offset: int) -> int:
        """What to add to addresses of this file when ``offset`` of it is mapped at ``mapped``."""
        for segment in self.segments[self.segments["type"] == LOAD]:
            begin = int(segment["offset"])
            if begin & ~4095 <= offset < begin + max(int(segment["filesz"]), 1):
                return mapped - offset + begin - int(segment["vaddr"])
        return mapped - offset
