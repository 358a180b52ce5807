"""The published network routes as rows of one array: ready to be sent, and quick to go through.

The layout is that of the bulk records (ipvs/route_rows.py), so a snapshot of a million routes is a
copy of this memory, and a source address that changes for all of them is one assignment.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np

from ipvs.route_rows import ROW_SIZE, RouteRowStruct
from stack import route

from .addresses import InterfaceAddress
from .inettypes import Address
from .routes import GATEWAY, LINK, Route
from .source_choice import best4, best6

Body = dict[str, Any]
Slots = np.ndarray[Any, np.dtype[np.intp]]
PER_MESSAGE = 1024
KINDS = {LINK: route.LINK, GATEWAY: route.GATEWAY}
_FORMAT = struct.Struct("<16s16s16sBBHHH")
_NONE = bytes(16)


def _layout(version: int) -> np.dtype[Any]:
    """The row as numbers: IPv6 words are the address's bytes, IPv4 ones a number."""
    word = "<u8" if version == 4 else ">u8"
    fields: Any = RouteRowStruct._fields_
    sizes = [(name, ctypes.sizeof(kind)) for name, kind in fields]
    return np.dtype([(name, word if size == 8 else f"<u{size}") for name, size in sizes])


def _words(address: Address | None) -> bytes:
    if address is None:
        return _NONE
    if address.version == 6:
        return address.packed
    return (int(address) << 64).to_bytes(16, "little")


class RouteRows:
    """Rows of one IP version; a route knows the number of its row (`slot`, -1: none)."""

    def __init__(self, version: int) -> None:
        self.version = version
        self._routes: list[Route] = []
        self._rows = np.zeros(64, _layout(version))
        self._chosen = np.zeros(64, np.bool_)  # the source is ours to choose
        self._bytes: Any = self._rows.view(np.uint8)

    def __len__(self) -> int:
        return len(self._routes)

    def _grow(self) -> None:
        size = len(self._rows)
        rows, chosen = np.zeros(2 * size, self._rows.dtype), np.zeros(2 * size, np.bool_)
        rows[:size], chosen[:size] = self._rows, self._chosen
        self._rows, self._chosen, self._bytes = rows, chosen, rows.view(np.uint8)

    def put(self, one: Route, source: Address | None, mtu: int) -> None:
        """Enter a network route, or what it is now."""
        if one.slot < 0:
            if len(self._routes) == len(self._rows):
                self._grow()
            one.slot = len(self._routes)
            self._routes.append(one)
        self._chosen[one.slot] = one.src is None
        _FORMAT.pack_into(
            self._bytes, one.slot * ROW_SIZE,
            _words(one.dst), _words(one.via), _words(source),
            one.plen, KINDS[one.kind], one.dev, mtu, 0,
        )  # fmt: skip

    def drop(self, one: Route) -> None:
        """Take a route out, if it has a row: the last row takes its place."""
        if one.slot < 0:
            return
        last = self._routes.pop()
        if last is not one:
            self._rows[one.slot] = self._rows[last.slot]
            self._chosen[one.slot] = self._chosen[last.slot]
            self._routes[one.slot] = last
            last.slot = one.slot
        one.slot = -1

    def release(self, one: Route) -> None:
        """The operator's source of a route is gone: ours to choose from now on."""
        if one.slot >= 0:
            self._chosen[one.slot] = True

    def choose(
        self,
        dev: int,
        usable: Mapping[str, list[InterfaceAddress]],
        fresh: InterfaceAddress | None = None,
        gone: Address | None = None,
    ) -> Slots:
        """Choose the sources of a device's routes anew; the rows that changed.

        `usable` are the addresses for each kind of route, oldest first.  What else is known saves
        work: `fresh` is the only new one of them, the newest; or only routes that speak from `gone`
        can have to change.
        """
        rows = self._rows[: len(self)]
        mine = self._chosen[: len(self)] & (rows["port"] == dev)
        if gone is not None:
            high, low = self._numbers(gone)
            mine &= (rows["source_high"] == high) & (rows["source_low"] == low)
        changed = []
        for kind, entries in usable.items():
            slots = np.flatnonzero(mine & (rows["kind"] == KINDS[kind]))
            if slots.size and (fresh is None or fresh in entries):
                changed.append(self._choose(slots, kind, entries, fresh))
        return np.concatenate(changed) if changed else np.zeros(0, np.intp)

    def _numbers(self, address: Address) -> tuple[int, int]:
        number = int(address)
        return number >> 64, number & 0xFFFFFFFFFFFFFFFF

    def _choose(
        self,
        slots: Slots,
        kind: str,
        entries: list[InterfaceAddress],
        fresh: InterfaceAddress | None,
    ) -> Slots:
        rows, native = self._rows, np.dtype(np.uint64)
        old = [rows[name][slots].astype(native) for name in ("source_high", "source_low")]
        if self.version == 4:
            target = rows["gateway_low" if kind == GATEWAY else "low"][slots].astype(native)
            new = [old[0], best4(target, entries)]
        else:
            high, low = (rows[name][slots].astype(native) for name in ("high", "low"))
            new = best6(high, low, entries if fresh is None else [fresh], old if fresh else None)
        differs = (new[0] != old[0]) | (new[1] != old[1])
        where = slots[differs]
        rows["source_high"][where] = new[0][differs]
        rows["source_low"][where] = new[1][differs]
        return where

    def route(self, slot: int) -> tuple[Route, Address | None]:
        """The route of a row and its source."""
        high, low = (int(self._rows[name][slot]) for name in ("source_high", "source_low"))
        if not high | low:
            return self._routes[slot], None
        kind = IPv4Address if self.version == 4 else IPv6Address
        return self._routes[slot], kind(high << 64 | low)

    def records(self, kind: str, slots: Slots | None = None) -> Iterator[tuple[str, Body]]:
        """Bulk records (routes.set, routes.del) of some rows or all, as they are now."""
        rows = self._rows[: len(self)] if slots is None else self._rows[slots]
        raw = rows.tobytes()
        for first in range(0, len(raw), PER_MESSAGE * ROW_SIZE):
            some = raw[first : first + PER_MESSAGE * ROW_SIZE]
            yield kind, {"version": self.version, "rows": some}
