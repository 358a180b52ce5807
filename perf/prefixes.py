"""Routes like those of the Internet's tables, and a plain search through them.

A route is a row (high, low, length) of numbers as the address is read; IPv4 has high 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from perf.errors import PerfError

# Shares of prefix lengths in the default-free zone, roughly (per mille), host routes added.
SHARES4 = {8: 1, 10: 1, 12: 1, 13: 1, 14: 2, 15: 2, 16: 15, 17: 9, 18: 15, 19: 27, 20: 45, 21: 52,
           22: 112, 23: 100, 24: 597, 32: 20}  # fmt: skip
SHARES6 = {19: 1, 20: 1, 24: 1, 28: 4, 29: 40, 30: 6, 32: 130, 33: 14, 34: 15, 36: 35, 38: 12,
           40: 75, 42: 20, 44: 100, 45: 16, 46: 26, 47: 20, 48: 464, 64: 15, 128: 5}  # fmt: skip

Rows = np.ndarray[Any, np.dtype[np.uint64]]


def masks(lengths: Any) -> tuple[Any, Any]:
    """(high, low) masks of IPv6 prefix lengths."""
    ones = np.uint64(0xFFFFFFFFFFFFFFFF)

    def first(bits: Any) -> Any:
        shift = np.minimum(64 - bits, 63).astype(np.uint64)
        return np.where(bits == 0, np.uint64(0), ones << shift)

    lengths = np.asarray(lengths)
    return first(np.minimum(lengths, 64)), first(np.maximum(lengths - 64, 0))


def _positions(version: int, lengths: Any) -> tuple[Any, Any]:
    """Masks of lengths as they lie in the words: an IPv4 address is the low 32 bits of low."""
    return masks(np.asarray(lengths) + (96 if version == 4 else 0))


def make(version: int, count: int, seed: int = 7) -> tuple[Rows, Rows, Rows]:
    """``count`` different routes (high, low, length), the lengths spread like the shares.

    Half of the longer ones lie inside shorter ones.  PerfError when there are not so many.
    """
    rng = np.random.default_rng(seed)
    shares = SHARES4 if version == 4 else SHARES6
    weights = np.array(list(shares.values()), float)
    found: Any = np.zeros((0, 3), np.uint64)
    for _ in range(50):
        lengths = rng.choice(list(shares), size=count, p=weights / weights.sum())
        high, low = rng.integers(0, 1 << 64, size=(2, count), dtype=np.uint64)
        if version == 4:
            high[:] = 0
            low >>= np.uint64(32)
        else:
            high = (high >> np.uint64(3)) | np.uint64(0x2000 << 48)
        if len(found):
            inside = rng.random(count) < 0.5
            outer = found[rng.integers(0, len(found), count)]
            m_high, m_low = _positions(version, outer[:, 2].astype(np.int64))
            high = np.where(inside, outer[:, 0] | (high & ~m_high), high)
            low = np.where(inside, outer[:, 1] | (low & ~m_low), low)
            if version == 4:
                low &= np.uint64(0xFFFFFFFF)
                high[:] = 0
        m_high, m_low = _positions(version, lengths)
        fresh = np.stack([high & m_high, low & m_low, lengths.astype(np.uint64)], axis=1)
        found = np.unique(np.concatenate([found, fresh]), axis=0)
        if len(found) >= count:
            rows = found[rng.permutation(len(found))[:count]]
            return rows[:, 0].copy(), rows[:, 1].copy(), rows[:, 2].copy()
    raise PerfError(f"there are not {count} different IPv{version} routes of these lengths")


def addresses(version: int, routes: tuple[Rows, Rows, Rows], count: int, seed: int) -> Any:
    """``count`` addresses (high, low): nine of ten inside a random route, the others anywhere."""
    rng = np.random.default_rng(seed)
    at = rng.integers(0, len(routes[0]), count)
    high, low = rng.integers(0, 1 << 64, size=(2, count), dtype=np.uint64)
    m_high, m_low = _positions(version, routes[2][at].astype(np.int64))
    inside = rng.random(count) < 0.9
    high = np.where(inside, routes[0][at] | (high & ~m_high), high)
    low = np.where(inside, routes[1][at] | (low & ~m_low), low)
    if version == 4:
        high[:] = 0
        low &= np.uint64(0xFFFFFFFF)
    return high, low


def longest(version: int, routes: tuple[Rows, Rows, Rows], high: int, low: int) -> int:
    """Number of the route with the longest prefix that contains an address, -1 without one."""
    m_high, m_low = _positions(version, routes[2].astype(np.int64))
    hits = ((np.uint64(high) & m_high) == routes[0]) & ((np.uint64(low) & m_low) == routes[1])
    at = np.flatnonzero(hits)
    return int(at[np.argmax(routes[2][at])]) if len(at) else -1
