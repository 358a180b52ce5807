"""Real servers: what scheduling needs, and their counters in shared memory."""

from __future__ import annotations

import ctypes

from runtime.intrinsics import divide
from runtime.jit import compiled
from runtime.pointers import view

MAX_DESTS = 16384
DEST_SIZE = 64
STATS_SIZE = 64
WHOLE = 1024


class DestStruct(ctypes.Structure):
    """One real server, one cache line."""

    _fields_ = [
        ("address", ctypes.c_uint32),  # host order, 0 = IPv6
        ("port", ctypes.c_uint16),
        ("mode", ctypes.c_uint8),
        ("present", ctypes.c_uint8),  # 0: removed, only old connections refer to it
        ("weight", ctypes.c_int32),
        ("upper", ctypes.c_uint32),  # this worker's share of the upper threshold, 0 = none
        ("overload", ctypes.c_uint32),
        ("inhibited", ctypes.c_uint32),
        ("wide", ctypes.c_uint32),  # 1 = IPv6
        ("pool", ctypes.c_uint32),  # SNAT: id + 1 of the local address it is, 0 = none
        ("high", ctypes.c_int64),  # IPv6 address, raw halves
        ("low", ctypes.c_int64),
        ("since", ctypes.c_uint32),  # ms, when it came (slow start)
        ("slow_start", ctypes.c_uint32),  # ms until it has its full share, 0 = at once or over
        ("credit", ctypes.c_uint32),  # of turns a slow server let pass, in 1024ths
        ("service", ctypes.c_uint32),  # id + 1 of the service it belongs to
    ]


class DestStatsStruct(ctypes.Structure):
    """Counters of one real server in one worker: one cache line, written by that worker only."""

    _fields_ = [
        ("packets", ctypes.c_int64 * 2),  # by side: from clients, from the server
        ("bytes", ctypes.c_int64 * 2),  # of IP packets
        ("conns", ctypes.c_int64),
        ("active", ctypes.c_int64),
        ("inactive", ctypes.c_int64),
        ("overload", ctypes.c_int64),
    ]


Dest = view(DestStruct)
DestStats = view(DestStatsStruct)

if ctypes.sizeof(DestStruct) != DEST_SIZE or ctypes.sizeof(DestStatsStruct) != STATS_SIZE:
    raise AssertionError("real server records have the wrong size")


@compiled
def usable(dests, number):
    """1 when a real server may be given a new connection."""
    d = Dest(dests + number * DEST_SIZE)
    if d.present and d.weight > 0 and d.overload == 0 and d.inhibited == 0:
        return 1
    return 0


@compiled
def stands(dests, number):
    """1 while a real server is there and may have connections at all."""
    d = Dest(dests + number * DEST_SIZE)
    return 1 if d.present and d.weight > 0 else 0


@compiled
def share(dests, number, now):
    """How much of its weight counts for a real server that came lately, in 1024ths (1..1024)."""
    d = Dest(dests + number * DEST_SIZE)
    if d.slow_start == 0:
        return WHOLE
    age = (now - d.since) & 0xFFFFFFFF
    if age >= 0x80000000:
        age = 0
    if age >= d.slow_start:
        d.slow_start = 0
        return WHOLE
    return 1 + divide(age * (WHOLE - 1), d.slow_start)


@compiled
def takes_turn(dests, number, now):
    """1 when a real server whose turn it is takes it: a slow one takes ``share`` of its turns."""
    d = Dest(dests + number * DEST_SIZE)
    if d.slow_start == 0:
        return 1
    credit = d.credit + share(dests, number, now)
    d.credit = credit & (WHOLE - 1)
    return 1 if credit >= WHOLE else 0


@compiled
def connection_begins(dests, stats, number):
    """Count a new (inactive) connection; marks the server overloaded at its threshold."""
    d = Dest(dests + number * DEST_SIZE)
    s = DestStats(stats + number * STATS_SIZE)
    s.conns += 1
    s.inactive += 1
    if d.upper != 0 and s.active + s.inactive >= d.upper:
        d.overload = 1
        s.overload = 1
    return 0


@compiled
def connection_ends(dests, stats, number, active):
    """Uncount a connection; a server below its threshold is schedulable again."""
    d = Dest(dests + number * DEST_SIZE)
    s = DestStats(stats + number * STATS_SIZE)
    if active:
        s.active -= 1
    else:
        s.inactive -= 1
    if d.overload and s.active + s.inactive < d.upper:
        d.overload = 0
        s.overload = 0
    return 0


@compiled
def connection_activity(stats, number, active):
    """Move one connection between the inactive and active counts."""
    s = DestStats(stats + number * STATS_SIZE)
    if active:
        s.active += 1
        s.inactive -= 1
    else:
        s.active -= 1
        s.inactive += 1
    return 0
