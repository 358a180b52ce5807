"""Pairs of entries for connections with IPv6 on a side: an even entry and the one behind it.

The connection goes by the number of the second (ipvs/wide_entry.py).

They come from the same array as single entries.  A returned pair stays a pair until single entries
run out; when pairs run out, two neighbours among the single free entries are looked for, a few at
a time.
"""

from __future__ import annotations

from ipvs.entry import ENTRY_SIZE
from ipvs.table import FREE, Table, chain, unchain
from runtime.intrinsics import load32, prefetch_write, store64
from runtime.jit import compiled

SEARCH = 64  # pairs looked at for one new connection


@compiled
def _is_free(table, number):
    return 1 if load32(Table(table).links + number * 8 + 4) & FREE else 0


@compiled
def _join(table):
    """Number of a pair made of two free entries, or 0 when none is near the cursor."""
    t = Table(table)
    if t.free == 0:
        return 0
    for _ in range(SEARCH):
        number = t.cursor + 2
        if number + 1 > t.high:
            number = 2
        t.cursor = number
        if number + 1 > t.high:
            return 0
        if _is_free(table, number) and _is_free(table, number + 1):
            unchain(table, number)
            unchain(table, number + 1)
            return number
    return 0


@compiled
def take_pair(table):
    """Number of the second entry of an unused pair, or 0 when there is none."""
    t = Table(table)
    number = t.pairs
    if number != 0:
        t.pairs = load32(t.links + number * 8)
        store64(t.links + number * 8, 0)
        prefetch_write(t.links + t.pairs * 8)
    elif t.high + 3 - (t.high & 1) <= t.capacity:
        if t.high & 1 == 0:
            t.high += 1
            chain(table, t.high)
        number = t.high + 1
        t.high += 2
    else:
        if t.high < t.capacity:
            t.high += 1  # half of the last pair; the other half was given out by itself
            chain(table, t.high)
        number = _join(table)
        if number == 0:
            return 0
    t.count += 1
    following = t.pairs if t.pairs != 0 else t.high + 1
    for line in range(1, 4):
        prefetch_write(t.entries + following * ENTRY_SIZE + line * 64)
    return number + 1


@compiled
def chain_pair(table, number):
    """Put an unused pair, by its first entry, into the chain of pairs."""
    t = Table(table)
    # Marked neither free nor armed: nobody may join or disarm half of it.
    store64(t.links + number * 8, t.pairs)
    store64(t.links + number * 8 + 8, 0)
    t.pairs = number
    return 0


@compiled
def give_pair(table, number):
    """Return a pair, by its second entry, that is in neither index nor wheel."""
    chain_pair(table, number - 1)
    Table(table).count -= 1
    return 0
