"""A worker that starts on the table of a dead one: everything but the entries is made anew."""

from __future__ import annotations

import ctypes

from ipvs.context import Ipvs
from ipvs.dest import MAX_DESTS, STATS_SIZE, DestStats
from ipvs.entry import ACTIVE, ENTRY_SIZE, HASHED1, LIVE, MODE_FULLNAT, MODE_SNAT, WIDE, Entry
from ipvs.expire import remaining_ms
from ipvs.index import BUCKET_SIZE
from ipvs.laddr import MAX_LADDRS, RING
from ipvs.pairs import chain_pair
from ipvs.persist import keep
from ipvs.sctp_states import SCTP_STATES
from ipvs.service import MAX_SERVICES
from ipvs.table import (
    MAGIC,
    WHEEL_AT,
    Table,
    arm,
    chain,
    entry_of,
    initialise,
    place,
    publish,
)
from ipvs.tcp import TCP_STATES
from ipvs.wide_entry import SIX, WIDE_AT, Wide
from runtime import wheel
from runtime.intrinsics import load8, store8
from runtime.jit import compiled
from stack.context import NEVER

STATES = max(len(TCP_STATES), len(SCTP_STATES))


def is_table(address: int, length: int) -> bool:
    """True when a table was laid out at ``address`` before (``length`` bytes are there)."""
    table = Table(address)
    return bool(table.magic == MAGIC and 0 < table.capacity * ENTRY_SIZE < length)


@compiled
def plausible(ipvs, number):
    """1 when an entry that says it is live can be believed (its worker may have died writing)."""
    w = Ipvs(ipvs)
    e = Entry(entry_of(w.table, number))
    if e.live != LIVE or e.dest >= MAX_DESTS or e.state >= STATES or e.mode > MODE_FULLNAT + 4:
        return 0
    if e.laddr > MAX_LADDRS or e.service >= MAX_SERVICES:
        return 0
    if e.flags & WIDE:
        first = Entry(entry_of(w.table, number - 1))
        if number & 1 == 0 or number == 1 or first.live == LIVE:
            return 0
    return 1 if e.side[0].addresses != 0 and e.side[0].ports != 0 else 0


@compiled
def _return_unused(ipvs, number):
    """Chain a slot without connection, together with the next one if they are a free pair.

    Returns how many slots are done with.  The first of a pair in use is left alone.
    """
    w = Ipvs(ipvs)
    Entry(entry_of(w.table, number)).live = 0
    if number & 1 == 0 and number < Table(w.table).high:
        second = Entry(entry_of(w.table, number + 1))
        if plausible(ipvs, number + 1) == 0:
            second.live = 0
            chain_pair(w.table, number)
            return 2
        if second.flags & WIDE:
            return 1
    chain(w.table, number)
    return 1


@compiled
def _resume(ipvs, number, now):
    """Bring a connection found in the table back into index, wheel and counts."""
    w = Ipvs(ipvs)
    entry = entry_of(w.table, number)
    e = Entry(entry)
    # Route generations of the dead worker mean nothing here.
    e.forward[0].generation = NEVER
    e.forward[1].generation = NEVER
    publish(w.table, number, 2 if e.flags & HASHED1 else 1)
    seconds = (remaining_ms(entry, now) + 999) // 1000
    if e.template != 0:
        seconds = keep(ipvs, entry, seconds)
    arm(w.table, number, now, seconds)
    stats = DestStats(w.dest_stats + e.dest * STATS_SIZE)
    if e.flags & ACTIVE:
        stats.active += 1
    else:
        stats.inactive += 1
    return 0


@compiled
def reinsert(ipvs, now):
    """Walk all entries ever used: live ones into index and wheel, the rest to the free chains."""
    w = Ipvs(ipvs)
    t = Table(w.table)
    t.free = 0
    t.pairs = 0
    t.count = 0
    number = 1
    while number <= t.high:
        if plausible(ipvs, number):
            _resume(ipvs, number, now)
            t.count += 1
            number += 1
        else:
            number += _return_unused(ipvs, number)
    return t.count


@compiled
def mark_ports(table, laddr, marks, replicas):
    """Set marks[replica][port] for every port of a local address that connections hold.

    The replica is worked out anew (see replica_of): the number of pools may be another than when
    the connection began.  A port that is marked already is returned by its first holder only.
    """
    t = Table(table)
    for number in range(1, t.high + 1):
        e = Entry(entry_of(table, number))
        if e.live == LIVE and e.laddr == laddr + 1:
            side = 0 if e.mode == MODE_SNAT else 1
            ports = e.side[side].ports
            server = e.side[side].addresses
            if ports & SIX:
                server = (Wide(e.ptr + WIDE_AT).side[side].src_low >> 32) & 0xFFFFFFFF
            low = ((server >> 8) & 0xFF00) | ((server >> 24) & 0xFF)
            e.replica = (low + ((ports & 0xFF) << 8) + ((ports >> 8) & 0xFF)) & (replicas - 1)
            at = marks + e.replica * RING + (((ports >> 8) & 0xFF00) | ((ports >> 24) & 0xFF))
            if load8(at):
                e.laddr = 0
            else:
                store8(at, 1)
    return 0


def _clear_counts(dest_stats: int) -> None:
    size = MAX_DESTS * STATS_SIZE
    if ctypes.string_at(dest_stats, size).count(0) == size:
        return  # a first start
    for number in range(MAX_DESTS):
        stats = DestStats(dest_stats + number * STATS_SIZE)
        if stats.active or stats.inactive:
            stats.active = stats.inactive = 0


def start_empty(ipvs: int, length: int, capacity: int, now: int) -> None:
    """Lay out an empty table in the ``length`` bytes at ``ipvs``'s table address.

    What a table of another capacity left there is wiped: nothing of it may be believed.
    """
    w = Ipvs(ipvs)
    if Table(w.table).magic != 0:
        ctypes.memset(w.table, 0, length)
    initialise(w.table, capacity, now)
    _clear_counts(w.dest_stats)


def recover(ipvs: int, now: int) -> int:
    """Bring the table found at ``ipvs``'s table address back into service; returns connections."""
    w = Ipvs(ipvs)
    table = Table(w.table)
    place(w.table, table.capacity)
    ctypes.memset(table.index.buckets, 0, table.index.count * BUCKET_SIZE)
    ctypes.memset(table.links, 0, (table.capacity + 1) * 8)
    wheel.initialise(w.table + WHEEL_AT, table.links, now)
    _clear_counts(w.dest_stats)
    return int(reinsert(ipvs, now))
