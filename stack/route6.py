"""IPv6 routes of one worker: longest-prefix match over hashed prefixes.

Like stack/route.py, with one hash table for all (prefix, length) pairs; the lengths that exist are
kept as a list, longest first, so that ten routes cost two or three probes and a million as many
as they have different lengths.  Addresses are raw words (stack/address6.py).
"""

from __future__ import annotations

import ctypes

from runtime.intrinsics import GOLDEN, mum, signed, times
from runtime.jit import compiled
from runtime.pointers import view
from stack.route import GATEWAY, LINK, LOCAL, Heads, buckets_for

LENGTHS = 129


class Route6Struct(ctypes.Structure):
    """One route, 64 bytes: a cache line."""

    _fields_ = [
        ("high", ctypes.c_int64),
        ("low", ctypes.c_int64),
        ("gateway_high", ctypes.c_int64),
        ("gateway_low", ctypes.c_int64),
        ("source_high", ctypes.c_int64),  # preferred source address, :: = none
        ("source_low", ctypes.c_int64),
        ("next", ctypes.c_uint32),  # chain, entry number + 1
        ("length", ctypes.c_uint8),
        ("kind", ctypes.c_uint8),  # LOCAL, LINK, GATEWAY
        ("port", ctypes.c_uint16),
        ("mtu", ctypes.c_uint16),  # 0 = the port's
        ("flags", ctypes.c_uint16),
        ("mark", ctypes.c_uint32),  # the table's when it was set last
    ]


class Route6TableStruct(ctypes.Structure):
    """Head of the table; ``heads`` and ``routes`` are addresses of the arrays."""

    _fields_ = [
        ("capacity", ctypes.c_int64),
        ("buckets", ctypes.c_int64),  # power of two
        ("count", ctypes.c_int64),
        ("free", ctypes.c_int64),  # chain of returned entries, entry number + 1
        ("high", ctypes.c_int64),  # entries below this number were used at some time
        ("heads", ctypes.c_int64),
        ("routes", ctypes.c_int64),
        ("mark", ctypes.c_int64),  # a new one makes all routes old; see ``sweep6``
        ("distinct", ctypes.c_int64),  # different prefix lengths
        ("lengths", ctypes.c_uint8 * 136),  # these, longest first
        ("per_length", ctypes.c_int64 * LENGTHS),
        ("masks", ctypes.c_int64 * 65),  # of the first n bits of a word, in wire order
    ]


Route6 = view(Route6Struct)
Route6Table = view(Route6TableStruct)
ROUTE6_SIZE = ctypes.sizeof(Route6Struct)
HEAD_SIZE = (ctypes.sizeof(Route6TableStruct) + 63) & ~63
if ROUTE6_SIZE != 64:
    raise AssertionError(f"route is {ROUTE6_SIZE} bytes")


def size_bytes(capacity: int) -> int:
    """Memory for a table of ``capacity`` routes."""
    return HEAD_SIZE + capacity * ROUTE6_SIZE + buckets_for(capacity) * 4


def initialise(address: int, capacity: int) -> None:
    """Lay out an empty table in zeroed memory at ``address``."""
    table = Route6Table(address)
    table.capacity, table.buckets = capacity, buckets_for(capacity)
    table.routes = address + HEAD_SIZE
    table.heads = table.routes + ROUTE6_SIZE * capacity
    for bits in range(65):
        wire = ((1 << 64) - (1 << (64 - bits))).to_bytes(8, "big")
        table.masks[bits] = signed(int.from_bytes(wire, "little"))


@compiled
def masked_high(table, high, length):
    """High word with the bits behind a prefix length cleared."""
    return high & Route6Table(table).masks[length if length < 64 else 64]


@compiled
def masked_low(table, low, length):
    """Low word with the bits behind a prefix length cleared."""
    return low & Route6Table(table).masks[length - 64 if length > 64 else 0]


@compiled
def _bucket(table, high, low, length):
    mixed = mum(high ^ GOLDEN, low ^ times(GOLDEN, length + 1))
    return mixed & (Route6Table(table).buckets - 1)


@compiled
def find_exact6(table, high, low, length):
    """Address of the route with exactly this prefix, or 0."""
    t = Route6Table(table)
    entry = Heads(t.heads).head[_bucket(table, high, low, length)]
    while entry != 0:
        route = Route6(t.routes + (entry - 1) * ROUTE6_SIZE)
        if route.high == high and route.low == low and route.length == length:
            return route.ptr
        entry = route.next
    return 0


@compiled
def lookup6(table, high, low):
    """Address of the route with the longest prefix containing an address, or 0."""
    t = Route6Table(table)
    for i in range(t.distinct):
        length = t.lengths[i]
        found = find_exact6(
            table, masked_high(table, high, length), masked_low(table, low, length), length
        )
        if found != 0:
            return found
    return 0


@compiled
def _count_length(table, length, step):
    """One route more or less of a length; keeps the list of lengths that exist."""
    t = Route6Table(table)
    t.per_length[length] += step
    if t.per_length[length] != (1 if step > 0 else 0):
        return 0
    at = 0
    while at < t.distinct and t.lengths[at] > length:
        at += 1
    if step > 0:
        for i in range(t.distinct - at):
            t.lengths[t.distinct - i] = t.lengths[t.distinct - i - 1]
        t.lengths[at] = length
    else:
        for i in range(at, t.distinct - 1):
            t.lengths[i] = t.lengths[i + 1]
    t.distinct += step
    return 0


@compiled
def insert6(table, high, low, length, kind, port, mtu):
    """Add or replace the route of a (masked) prefix; its address, or 0 when the table is full.

    Gateway and source are then the caller's to set; they are :: in what this returns.
    """
    t = Route6Table(table)
    found = find_exact6(table, high, low, length)
    if found == 0:
        entry = t.free
        if entry != 0:
            t.free = Route6(t.routes + (entry - 1) * ROUTE6_SIZE).next
        elif t.high < t.capacity:
            t.high += 1
            entry = t.high
        else:
            return 0
        found = t.routes + (entry - 1) * ROUTE6_SIZE
        heads = Heads(t.heads)
        bucket = _bucket(table, high, low, length)
        Route6(found).next = heads.head[bucket]
        heads.head[bucket] = entry
        Route6(found).flags = 0
        t.count += 1
        _count_length(table, length, 1)
    route = Route6(found)
    route.high = high
    route.low = low
    route.gateway_high = 0
    route.gateway_low = 0
    route.source_high = 0
    route.source_low = 0
    route.length = length
    route.kind = kind
    route.port = port
    route.mtu = mtu
    route.mark = t.mark
    return found


@compiled
def _take_out6(table, bucket, before, entry):
    """Return an entry whose predecessor in its bucket's chain is at ``before`` (0: none)."""
    t = Route6Table(table)
    route = Route6(t.routes + (entry - 1) * ROUTE6_SIZE)
    if before == 0:
        Heads(t.heads).head[bucket] = route.next
    else:
        Route6(before).next = route.next
    route.next = t.free
    t.free = entry
    t.count -= 1
    _count_length(table, route.length, -1)
    return 0


@compiled
def remove6(table, high, low, length):
    """Remove the route of a prefix; 1, or 0 when there is none."""
    t = Route6Table(table)
    bucket = _bucket(table, high, low, length)
    entry = Heads(t.heads).head[bucket]
    before = 0
    while entry != 0:
        route = Route6(t.routes + (entry - 1) * ROUTE6_SIZE)
        if route.high == high and route.low == low and route.length == length:
            _take_out6(table, bucket, before, entry)
            return 1
        before = route.ptr
        entry = route.next
    return 0


@compiled
def sweep6(table, first, count):
    """Remove the routes of ``count`` buckets from ``first`` on that have an old mark; how many."""
    t = Route6Table(table)
    gone = 0
    for bucket in range(first, min(first + count, t.buckets)):
        entry = Heads(t.heads).head[bucket]
        before = 0
        while entry != 0:
            route = Route6(t.routes + (entry - 1) * ROUTE6_SIZE)
            following = route.next
            if route.mark != t.mark:
                _take_out6(table, bucket, before, entry)
                gone += 1
            else:
                before = route.ptr
            entry = following
    return gone


__all__ = ["GATEWAY", "LINK", "LOCAL", "Route6", "insert6", "lookup6", "remove6"]
