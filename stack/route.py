"""IPv4 routes of one worker: longest-prefix match over hashed prefixes.

One hash table holds all (prefix, length) pairs; a 33-bit mask tells which lengths exist, and a
lookup probes those from the longest down.  Lookups happen once per connection and route change
(connections cache their next hop), so the structure favours cheap exact updates and any size:
right with a million routes, two or three probes with ten.
"""

from __future__ import annotations

import ctypes

from runtime.intrinsics import GOLDEN, shr, times
from runtime.jit import compiled
from runtime.pointers import view

LOCAL = 1  # one of our own addresses
LINK = 2  # directly connected
GATEWAY = 3

# flags of LOCAL routes
SAPOOL = 1  # a local address of FullNAT
RSS_KNOWN = 2  # its ports are chosen by the RSS hash of the return packets


class RouteStruct(ctypes.Structure):
    """One route, 32 bytes; addresses are host-order numbers."""

    _fields_ = [
        ("prefix", ctypes.c_uint32),
        ("gateway", ctypes.c_uint32),
        ("source", ctypes.c_uint32),  # preferred source address, 0 = none
        ("next", ctypes.c_uint32),  # chain, entry number + 1
        ("length", ctypes.c_uint8),
        ("kind", ctypes.c_uint8),
        ("port", ctypes.c_uint16),
        ("mtu", ctypes.c_uint16),  # 0 = the port's
        ("flags", ctypes.c_uint16),
        ("mark", ctypes.c_uint32),  # the table's when it was set last
        ("spare", ctypes.c_uint32),
    ]


class RouteTableStruct(ctypes.Structure):
    """Head of the table; ``heads`` and ``routes`` are addresses of the arrays."""

    _fields_ = [
        ("lengths", ctypes.c_int64),  # bit n: some route has prefix length n
        ("capacity", ctypes.c_int64),
        ("buckets", ctypes.c_int64),  # power of two
        ("count", ctypes.c_int64),
        ("free", ctypes.c_int64),  # chain of returned entries, entry number + 1
        ("high", ctypes.c_int64),  # entries below this number were used at some time
        ("heads", ctypes.c_int64),
        ("routes", ctypes.c_int64),
        ("mark", ctypes.c_int64),  # a new one makes all routes old; see ``sweep``
        ("per_length", ctypes.c_int64 * 33),
    ]


Route = view(RouteStruct)
RouteTable = view(RouteTableStruct)
ROUTE_SIZE = ctypes.sizeof(RouteStruct)
HEAD_SIZE = (ctypes.sizeof(RouteTableStruct) + 63) & ~63  # no route on two cache lines


class HeadsStruct(ctypes.Structure):
    """Open-ended array of bucket heads."""

    _fields_ = [("head", ctypes.c_uint32 * 0)]


Heads = view(HeadsStruct)


def buckets_for(capacity: int) -> int:
    """Buckets of a table of ``capacity`` routes; ValueError when that is none."""
    if capacity <= 0:
        raise ValueError(f"a route table of {capacity} routes")
    return 1 << (capacity - 1).bit_length()


def size_bytes(capacity: int) -> int:
    """Memory for a table of ``capacity`` routes."""
    return HEAD_SIZE + capacity * ROUTE_SIZE + buckets_for(capacity) * 4


def initialise(address: int, capacity: int) -> None:
    """Lay out an empty table in zeroed memory at ``address``."""
    table = RouteTable(address)
    table.capacity, table.buckets = capacity, buckets_for(capacity)
    table.routes = address + HEAD_SIZE
    table.heads = table.routes + ROUTE_SIZE * capacity


@compiled
def mask_of(length):
    """Network mask of a prefix length 0..32 as a number."""
    return (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF


@compiled
def _bucket(table, prefix, length):
    t = RouteTable(table)
    mixed = times(prefix | (length << 32), GOLDEN)
    return shr(mixed, 32) & (t.buckets - 1)


@compiled
def find_exact(table, prefix, length):
    """Address of the route with exactly this prefix, or 0."""
    t = RouteTable(table)
    entry = Heads(t.heads).head[_bucket(table, prefix, length)]
    while entry != 0:
        route = Route(t.routes + (entry - 1) * ROUTE_SIZE)
        if route.prefix == prefix and route.length == length:
            return route.ptr
        entry = route.next
    return 0


@compiled
def lookup(table, address):
    """Address of the route with the longest prefix containing ``address``, or 0."""
    t = RouteTable(table)
    lengths = t.lengths
    length = 32
    while length >= 0:
        if (lengths >> length) & 1:
            found = find_exact(table, address & mask_of(length), length)
            if found != 0:
                return found
        length -= 1
    return 0


@compiled
def insert(table, prefix, length, kind, gateway, port, source, mtu):
    """Add or replace the route of (prefix, length); 1, or 0 when the table is full."""
    t = RouteTable(table)
    found = find_exact(table, prefix, length)
    if found == 0:
        entry = t.free
        if entry != 0:
            t.free = Route(t.routes + (entry - 1) * ROUTE_SIZE).next
        elif t.high < t.capacity:
            t.high += 1
            entry = t.high
        else:
            return 0
        found = t.routes + (entry - 1) * ROUTE_SIZE
        Route(found).flags = 0
        heads = Heads(t.heads)
        bucket = _bucket(table, prefix, length)
        Route(found).next = heads.head[bucket]
        heads.head[bucket] = entry
        t.count += 1
        t.per_length[length] += 1
        t.lengths = t.lengths | (1 << length)
    route = Route(found)
    route.prefix = prefix
    route.length = length
    route.kind = kind
    route.gateway = gateway
    route.port = port
    route.source = source
    route.mtu = mtu
    route.mark = t.mark
    return 1


@compiled
def _take_out(table, bucket, before, entry):
    """Return an entry whose predecessor in its bucket's chain is at ``before`` (0: none)."""
    t = RouteTable(table)
    route = Route(t.routes + (entry - 1) * ROUTE_SIZE)
    if before == 0:
        Heads(t.heads).head[bucket] = route.next
    else:
        Route(before).next = route.next
    route.next = t.free
    t.free = entry
    t.count -= 1
    length = route.length
    t.per_length[length] -= 1
    if t.per_length[length] == 0:
        t.lengths = t.lengths & ~(1 << length)
    return 0


@compiled
def remove(table, prefix, length):
    """Remove the route of (prefix, length); 1, or 0 when there is none."""
    t = RouteTable(table)
    bucket = _bucket(table, prefix, length)
    entry = Heads(t.heads).head[bucket]
    before = 0
    while entry != 0:
        route = Route(t.routes + (entry - 1) * ROUTE_SIZE)
        if route.prefix == prefix and route.length == length:
            _take_out(table, bucket, before, entry)
            return 1
        before = route.ptr
        entry = route.next
    return 0


@compiled
def sweep(table, first, count):
    """Remove the routes of ``count`` buckets from ``first`` on that have an old mark; how many."""
    t = RouteTable(table)
    gone = 0
    for bucket in range(first, min(first + count, t.buckets)):
        entry = Heads(t.heads).head[bucket]
        before = 0
        while entry != 0:
            route = Route(t.routes + (entry - 1) * ROUTE_SIZE)
            following = route.next
            if route.mark != t.mark:
                _take_out(table, bucket, before, entry)
                gone += 1
            else:
                before = route.ptr
            entry = following
    return gone
