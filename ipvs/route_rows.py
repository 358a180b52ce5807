"""Very many routes at once: rows as they come in one message, checked and then entered.

A route is a row of 56 bytes here, the same for both families.  An IPv6 address is its two raw words
(stack/address6.py), an IPv4 one its host-order number in the low word beside a high word of 0.
Routes of our own addresses (LOCAL) never come in rows: what is known of these addresses decides on
their flags.
"""

from __future__ import annotations

import ctypes

from runtime.jit import compiled
from runtime.pointers import view
from stack import route, route6
from stack.context import Stack, bump_generation

ROWS_PER_STEP = 64  # executed between two bursts: some 20 microseconds
BUCKETS_PER_STEP = 128


class RouteRowStruct(ctypes.Structure):
    """One route of a bulk record."""

    _fields_ = [
        ("high", ctypes.c_int64),
        ("low", ctypes.c_int64),
        ("gateway_high", ctypes.c_int64),  # 0, 0: none
        ("gateway_low", ctypes.c_int64),
        ("source_high", ctypes.c_int64),  # 0, 0: none
        ("source_low", ctypes.c_int64),
        ("length", ctypes.c_uint8),
        ("kind", ctypes.c_uint8),  # LINK or GATEWAY
        ("port", ctypes.c_uint16),
        ("mtu", ctypes.c_uint16),  # 0 = the port's
        ("spare", ctypes.c_uint16),
    ]


Row = view(RouteRowStruct)
ROW_SIZE = ctypes.sizeof(RouteRowStruct)


@compiled
def _is_number(high, low):
    """1 for an IPv4 address."""
    return 1 if high == 0 and 0 <= low <= 0xFFFFFFFF else 0


@compiled
def _is_network(table, row, version):
    """1 when a row's prefix is one of the family, without bits behind its length."""
    r = Row(row)
    if version == 4:
        if r.length > 32 or not _is_number(r.high, r.low):
            return 0
        return 1 if r.low & ~route.mask_of(r.length) == 0 else 0
    if r.length > 128 or route6.masked_high(table, r.high, r.length) != r.high:
        return 0
    return 1 if route6.masked_low(table, r.low, r.length) == r.low else 0


@compiled
def table_of(stack, version):
    """Address of the stack's table of a family."""
    s = Stack(stack)
    return s.routes if version == 4 else s.routes6


@compiled
def first_fault(stack, rows, count, version):
    """Number of the first row that cannot be a route of this worker; -1: there is none."""
    table = table_of(stack, version)
    for i in range(count):
        r = Row(rows + i * ROW_SIZE)
        if not _is_network(table, r.ptr, version) or r.port >= Stack(stack).port_count:
            return i
        if r.kind != route.LINK and r.kind != route.GATEWAY:
            return i
        if version == 4:
            if not _is_number(r.gateway_high, r.gateway_low):
                return i
            if not _is_number(r.source_high, r.source_low):
                return i
    return -1


@compiled
def _find(table, row, version):
    """Address of the route that a row would replace, or 0."""
    r = Row(row)
    if version == 4:
        return route.find_exact(table, r.low, r.length)
    return route6.find_exact6(table, r.high, r.low, r.length)


@compiled
def has_room(stack, rows, count, version):
    """1 when the table takes all of these (different) rows."""
    table = table_of(stack, version)
    if version == 4:
        room = route.RouteTable(table).capacity - route.RouteTable(table).count
    else:
        room = route6.Route6Table(table).capacity - route6.Route6Table(table).count
    if room >= count:
        return 1
    for i in range(count):
        if _find(table, rows + i * ROW_SIZE, version) == 0:
            room -= 1
    return 1 if room >= 0 else 0


@compiled
def _set4(table, row):
    """Enter a row; 1 when that changed anything."""
    r = Row(row)
    found = route.find_exact(table, r.low, r.length)
    if found != 0:
        old = route.Route(found)
        way = old.kind == r.kind and old.port == r.port and old.mtu == r.mtu
        if way and old.gateway == r.gateway_low and old.source == r.source_low:
            old.mark = route.RouteTable(table).mark
            return 0
        old.flags = 0
    route.insert(table, r.low, r.length, r.kind, r.gateway_low, r.port, r.source_low, r.mtu)
    return 1


@compiled
def _same6(old, row):
    r = Row(row)
    o = route6.Route6(old)
    if o.kind != r.kind or o.port != r.port or o.mtu != r.mtu:
        return 0
    if o.gateway_high != r.gateway_high or o.gateway_low != r.gateway_low:
        return 0
    return 1 if o.source_high == r.source_high and o.source_low == r.source_low else 0


@compiled
def _set6(table, row):
    """Enter a row; 1 when that changed anything."""
    r = Row(row)
    found = route6.find_exact6(table, r.high, r.low, r.length)
    if found != 0 and _same6(found, row):
        route6.Route6(found).mark = route6.Route6Table(table).mark
        return 0
    entry = route6.Route6(route6.insert6(table, r.high, r.low, r.length, r.kind, r.port, r.mtu))
    entry.gateway_high = r.gateway_high
    entry.gateway_low = r.gateway_low
    entry.source_high = r.source_high
    entry.source_low = r.source_low
    entry.flags = 0
    return 1


@compiled
def set_rows(stack, rows, count, version):
    """Enter rows for which there is room.  Connections look their next hops up again only when
    something changed: a snapshot that says what is known already costs them nothing."""
    table = table_of(stack, version)
    changed = 0
    for i in range(count):
        row = rows + i * ROW_SIZE
        changed += _set4(table, row) if version == 4 else _set6(table, row)
    if changed > 0:
        bump_generation(stack)
    return changed


@compiled
def delete_rows(stack, rows, count, version):
    """Remove the routes to the rows' prefixes; one that is not there is no error."""
    table = table_of(stack, version)
    changed = 0
    for i in range(count):
        r = Row(rows + i * ROW_SIZE)
        if version == 4:
            changed += route.remove(table, r.low, r.length)
        else:
            changed += route6.remove6(table, r.high, r.low, r.length)
    if changed > 0:
        bump_generation(stack)
    return changed


@compiled
def sweep_rows(stack, first, count, version):
    """Remove the routes with an old mark from some buckets."""
    table = table_of(stack, version)
    if version == 4:
        gone = route.sweep(table, first, count)
    else:
        gone = route6.sweep6(table, first, count)
    if gone > 0:
        bump_generation(stack)
    return gone
