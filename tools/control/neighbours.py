"""Neighbour entries: static ones of the operator, and learnt ones that workers report.

The master keeps the learnt ones only to hand them to the other workers and to restarted ones; the
neighbour state machine runs in each worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import Code, ControlError
from .inettypes import Address

#: bounds, together well below the workers' tables, which also hold unresolved neighbours
MAX_STATIC = 1024
MAX_LEARNT = 2048


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The MAC address of a host on a device's link."""

    address: Address
    dev: int
    mac: str
    static: bool

    @property
    def key(self) -> tuple[int, Address]:
        """What is unique: device and address."""
        return (self.dev, self.address)


class NeighbourTable:
    """All known neighbours; the learnt ones with the most recently reported last."""

    def __init__(self) -> None:
        self._static: dict[tuple[int, Address], Neighbour] = {}
        self._learnt: dict[tuple[int, Address], Neighbour] = {}

    def get(self, dev: int, address: Address) -> Neighbour | None:
        """The entry for the address on the device."""
        return self._static.get((dev, address)) or self._learnt.get((dev, address))

    def put(self, entry: Neighbour) -> None:
        """Enter or replace; RESOURCE when there are too many static ones."""
        if entry.static and entry.key not in self._static and len(self._static) >= MAX_STATIC:
            raise ControlError(Code.RESOURCE, f"there are {MAX_STATIC} static neighbours already")
        self.remove(entry.key)
        (self._static if entry.static else self._learnt)[entry.key] = entry

    def surplus(self) -> Neighbour | None:
        """The learnt entry heard of least recently, when there are too many."""
        return next(iter(self._learnt.values())) if len(self._learnt) > MAX_LEARNT else None

    def remove(self, key: tuple[int, Address]) -> None:
        """Take out the entry if there is one."""
        self._static.pop(key, None)
        self._learnt.pop(key, None)

    def __iter__(self) -> Iterator[Neighbour]:
        return iter([*self._static.values(), *self._learnt.values()])

    def __len__(self) -> int:
        return len(self._static) + len(self._learnt)
