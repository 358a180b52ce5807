"""`best_source` (addresses.py) for very many routes at once, on arrays of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .addresses import InterfaceAddress

Numbers = np.ndarray[Any, np.dtype[np.uint64]]
_WORD = 0xFFFFFFFFFFFFFFFF
_LINK_LOCAL = np.uint64(0xFE80 >> 6)  # fe80::/10


def best4(targets: Numbers, entries: Sequence[InterfaceAddress]) -> Numbers:
    """The addresses to talk to IPv4 targets from, 0: none.  `entries`: usable ones, oldest first.

    The last one whose network has the target, else the last one.
    """
    # Very many routes have few gateways.
    distinct, place = np.unique(targets, return_inverse=True)
    best = np.full(len(distinct), int(entries[-1].address) if entries else 0, np.uint64)
    for entry in entries:
        mask = np.uint64(0xFFFFFFFF << (32 - entry.plen) & 0xFFFFFFFF)
        best[distinct & mask == np.uint64(int(entry.network))] = int(entry.address)
    chosen: Numbers = best[place]
    return chosen


def _bits(words: Numbers) -> Any:
    """Bit lengths of numbers."""
    # Without every other bit below the highest none is rounded up to the next power of two.
    return np.frexp((words & ~(words >> np.uint64(1))).astype(np.float64))[1]


def _common(high: Numbers, low: Numbers, other_high: Any, other_low: Any) -> Any:
    """Lengths of the common prefixes of IPv6 addresses."""
    first, second = high ^ other_high, low ^ other_low
    return np.where(first != 0, 64 - _bits(first), 128 - _bits(second))


def best6(
    high: Numbers,
    low: Numbers,
    entries: Sequence[InterfaceAddress],
    present: Sequence[Numbers] | None = None,
) -> list[Numbers]:
    """(high, low) of the addresses to talk to IPv6 targets from, 0 and 0: none.

    Of the link-local or of the other `entries` (as the target is one), the last one of those with
    the longest common prefix.  `present` are the sources chosen among earlier addresses.
    """
    best = [np.zeros_like(high), np.zeros_like(low)]
    length = np.full(len(high), -1)
    if present is not None:
        best = [part.copy() for part in present]
        some = best[0] | best[1] != 0
        length[some] = _common(high[some], low[some], best[0][some], best[1][some])
    near = high >> np.uint64(54) == _LINK_LOCAL
    for entry in entries:
        number = int(entry.address)
        words = np.uint64(number >> 64), np.uint64(number & _WORD)
        common = _common(high, low, *words)
        better = (common >= length) & (near == entry.address.is_link_local)
        length[better] = common[better]
        best[0][better], best[1][better] = words
    return best
