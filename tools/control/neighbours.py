"""Neighbour entries: static ones of the operator, and learnt ones that workers report.

The master keeps the learnt ones only to hand them to the other workers and to restarted ones; the
neighbour state machine runs in each worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

#: bound on learnt entries, so that a host answering for a whole network cannot exhaust memory
MAX_LEARNT = 16384


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The MAC address of a host on a device's link."""

    address: IPv4Address
    dev: int
    mac: str
    static: bool

    @property
    def key(self) -> tuple[int, IPv4Address]:
        """What is unique: device and address."""
        return (self.dev, self.address)


class NeighbourTable:
    """All known neighbours."""

    def __init__(self) -> None:
        self._table: dict[tuple[int, IPv4Address], Neighbour] = {}
        self._learnt = 0

    def get(self, dev: int, address: IPv4Address) -> Neighbour | None:
        """The entry for the address on the device."""
        return self._table.get((dev, address))

    def has_room(self) -> bool:
        """Whether one more learnt entry may be entered."""
        return self._learnt < MAX_LEARNT

    def put(self, entry: Neighbour) -> None:
        """Enter or replace."""
        self.remove(entry.key)
        self._table[entry.key] = entry
        self._learnt += not entry.static

    def remove(self, key: tuple[int, IPv4Address]) -> None:
        """Take out the entry if there is one."""
        old = self._table.pop(key, None)
        if old is not None:
            self._learnt -= not old.static

    def __iter__(self) -> Iterator[Neighbour]:
        return iter(list(self._table.values()))

    def __len__(self) -> int:
        return len(self._table)
