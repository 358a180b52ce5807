"""Named counters in shared memory: one writer each, readable by any process at any time.

A block is declared once as a list of (name, help text).  Compiled code gets a typed pointer
(``c = RX.view(address)``, then ``c.rx_packets += 1``: no lock, because each block has one writer);
readers map the same memory and get a dict.  A counter is an aligned 64-bit word, so a reader sees
it old or new and never torn.  Writers only add: "zero" is a reader's base line.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.pointers import View, view

CACHE_LINE = 64
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DECLARED: dict[str, tuple[str, ...]] = {}


class CounterBlock:
    """Declaration of the counters of one writer, padded to whole cache lines.

    ``title`` is a lower-case identifier, the type name in compiled code.  Raises ValueError for
    bad or repeated names, and for a title already declared with other counters.
    """

    def __init__(self, title: str, counters: Sequence[tuple[str, str]]) -> None:
        names = tuple(name for name, _ in counters)
        for name in (title, *names):
            # ``ptr`` is the address of a typed pointer, so no field can be called that.
            if not _NAME.fullmatch(name) or name == "ptr":
                raise ValueError(f"counter name {name!r}: use lower-case letters, digits and '_'")
        if not names or len(set(names)) != len(names):
            raise ValueError(f"counters {title}: the names must differ and there must be some")
        if _DECLARED.setdefault(title, names) != names:
            raise ValueError(f"counters {title} are already declared with other names")
        self.title = title
        self.names = names
        self.help = dict(counters)
        fields: list[tuple[str, Any]] = [(name, ctypes.c_int64) for name in names]
        spare = -len(names) % (CACHE_LINE // 8)
        if spare:
            fields.append(("_spare", ctypes.c_int64 * spare))
        self.struct: type[ctypes.Structure] = type(
            f"Counters_{title}", (ctypes.Structure,), {"_fields_": fields}
        )
        self.size = ctypes.sizeof(self.struct)
        """Bytes of one block, a multiple of 64: also the stride of an array of blocks."""
        self.view: View = view(self.struct)
        """``view(address)``: typed pointer, for compiled code (bind it to a global name)."""
        table = type(
            f"Counters_{title}_table", (ctypes.Structure,), {"_fields_": [("at", self.struct * 0)]}
        )
        self.table_view: View = view(table)
        """``table_view(address).at[i]``: typed pointer to block ``i`` of an array of blocks."""

    def read(self, address: int, index: int = 0) -> dict[str, int]:
        """Values by name of block ``index`` of the array (or single block) at ``address``."""
        values = (ctypes.c_int64 * len(self.names)).from_address(address + index * self.size)
        return dict(zip(self.names, values, strict=True))

    def clear(self, address: int, count: int = 1) -> None:
        """Zero ``count`` blocks at ``address``; only for the writer, or before there is one."""
        ctypes.memset(address, 0, self.size * count)


def total(readings: Iterable[dict[str, int]]) -> dict[str, int]:
    """Sum by name, for instance over workers; empty for no readings."""
    result: dict[str, int] = {}
    for reading in readings:
        for name, value in reading.items():
            result[name] = result.get(name, 0) + value
    return result


def since(now: dict[str, int], base: dict[str, int]) -> dict[str, int]:
    """``now`` less ``base`` by name: what was counted after ``base`` was read."""
    return {name: value - base.get(name, 0) for name, value in now.items()}


@dataclass
class CounterReader:
    """Reads one counter block (or block ``index`` of an array) that several workers each keep.

    ``addresses`` are the places, one per worker.  ``memory`` is kept alive with the reader.
    """

    block: CounterBlock
    addresses: Sequence[int]
    index: int = 0
    memory: object = field(default=None, repr=False)
    _base: dict[int, dict[str, int]] = field(default_factory=dict, repr=False)

    def worker(self, number: int) -> dict[str, int]:
        """Values of the worker at ``addresses[number]`` since the last ``zero``."""
        now = self.block.read(self.addresses[number], self.index)
        return since(now, self._base.get(number, {}))

    def read(self) -> dict[str, int]:
        """Values summed over the workers since the last ``zero``."""
        return total(self.worker(number) for number in range(len(self.addresses)))

    def zero(self) -> None:
        """Count from here on: later reads are relative to the present values."""
        for number, address in enumerate(self.addresses):
            self._base[number] = self.block.read(address, self.index)
