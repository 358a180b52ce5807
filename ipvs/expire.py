"""Connections end: by the timer wheel, or at once."""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.dest import connection_ends
from ipvs.ending import is_to_be_told, tell_ends
from ipvs.entry import ACTIVE, HASHED1, MODE_SNAT, WIDE, Entry
from ipvs.laddr import LADDR_SIZE, LADDR_STATS_SIZE, give_port
from ipvs.pairs import give_pair
from ipvs.persist import keep
from ipvs.table import WHEEL_AT, Table, arm, entry_of, give_entry, withdraw
from runtime import wheel
from runtime.jit import compiled
from stack.context import Stack

TELL_COST = 3


@compiled
def release(ipvs, number):
    """Remove a connection that is off the wheel: index, counters, local port, entry."""
    w = Ipvs(ipvs)
    entry = Entry(entry_of(w.table, number))
    withdraw(w.table, number, 2 if entry.flags & HASHED1 else 1)
    connection_ends(w.dests, w.dest_stats, entry.dest, entry.flags & ACTIVE)
    if entry.laddr != 0:
        number_of_laddr = entry.laddr - 1
        # Ports of a side: the other host's, then our local port, in network order.
        side = 0 if entry.mode == MODE_SNAT else 1
        raw = (entry.side[side].ports >> 16) & 0xFFFF
        port = ((raw & 0xFF) << 8) | (raw >> 8)
        give_port(
            w.laddrs + number_of_laddr * LADDR_SIZE,
            w.laddr_stats + number_of_laddr * LADDR_STATS_SIZE,
            entry.replica,
            port,
        )
    # A packet later in the burst may have looked this entry up already: it must not match.
    entry.side[0].addresses = 0
    entry.side[1].addresses = 0
    if entry.flags & WIDE:
        give_pair(w.table, number)
    else:
        give_entry(w.table, number)
    return 0


@compiled
def remaining_ms(entry, now):
    """Milliseconds until a connection expires, 0 when it is due."""
    e = Entry(entry)
    idle = (now - e.last) & 0xFFFFFFFF
    if idle >= 0x80000000:
        idle = 0
    left = e.timeout * 1000 - idle
    return left if left > 0 else 0


@compiled
def expire(ipvs, budget):
    """Look at up to ``budget`` entries whose slot has come; returns how many connections ended.

    Telling the ends of one takes TELL_COST more of the budget: they answer, and what is received
    per iteration is bounded as well.
    """
    w = Ipvs(ipvs)
    now = Stack(w.stack).now
    ended = 0
    while budget > 0:
        number = wheel.due(w.table + WHEEL_AT, now)
        if number == 0:
            break
        budget -= 1
        entry = entry_of(w.table, number)
        seconds = (remaining_ms(entry, now) + 999) // 1000
        if is_to_be_told(entry, seconds):
            seconds = tell_ends(ipvs, entry, seconds)
            budget -= TELL_COST
        if seconds > 0:
            if Entry(entry).template != 0:
                seconds = keep(ipvs, entry, seconds)
            arm(w.table, number, now, seconds)
        else:
            release(ipvs, number)
            ended += 1
    Table(w.table).expired += ended
    return ended


@compiled
def end_now(ipvs, number):
    """End a connection at once (its real server is gone and the service says so)."""
    wheel.disarm(Ipvs(ipvs).table + WHEEL_AT, number)
    return release(ipvs, number)
