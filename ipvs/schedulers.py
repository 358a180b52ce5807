"""Choosing a real server: rr, wrr, wlc and fo as the reference defines them.  Compiled."""

from __future__ import annotations

from ipvs.conhash import conhash
from ipvs.dest import DEST_SIZE, STATS_SIZE, Dest, DestStats, share, takes_turn, usable
from ipvs.maglev import maglev
from ipvs.service import (
    SCHED_FO,
    SCHED_MH,
    SCHED_RR,
    SCHED_USER,
    SCHED_WLC,
    SCHED_WRR,
    IdList,
    Service,
)
from ipvs.user_call import by_user
from runtime.jit import compiled

# Inactive connections weigh this much less than active ones (wlc).
ACTIVE_FACTOR = 256
SLOW_PASSES = 32


@compiled
def round_robin(service, dests, now):
    """Next usable real server after the last one chosen; its id or -1.

    A slow starter lets most turns pass, unless nobody else would take them.
    """
    s = Service(service)
    ids = IdList(s.dests)
    count = s.dest_count
    at = s.position
    passed = -1
    for _ in range(count):
        at += 1
        if at >= count:
            at = 0
        number = ids.id[at]
        if usable(dests, number):
            if takes_turn(dests, number, now):
                s.position = at
                return number
            if passed < 0:
                passed = at
    if passed < 0:
        return -1
    s.position = passed
    return ids.id[passed]


@compiled
def heaviest(service, dests, settled):
    """Largest weight among the usable real servers of a service, 0 when there are none.

    ``settled``: of those that are not starting slowly.
    """
    s = Service(service)
    ids = IdList(s.dests)
    weight = 0
    for at in range(s.dest_count):
        number = ids.id[at]
        d = Dest(dests + number * DEST_SIZE)
        if usable(dests, number) and d.weight > weight and (settled == 0 or d.slow_start == 0):
            weight = d.weight
    return weight


@compiled
def weighted_round_robin(service, dests, now):
    """Classic LVS wrr: each pass lowers the bar by the gcd of all weights; slow start as in rr."""
    s = Service(service)
    ids = IdList(s.dests)
    count = s.dest_count
    if count == 0 or s.max_weight <= 0 or s.gcd_weight <= 0:
        return -1
    at = s.position
    bar = s.current_weight
    highest = s.max_weight
    passed = -1
    # After a pass without choice, the bar falls to the heaviest usable server at once: passes that
    # could choose nobody are skipped, so three passes are enough whatever the weights.
    # Slow starters that let turns pass get more passes, so that they lose no turns by the fall.
    for step in range((SLOW_PASSES + 2) * count + 1):
        if step == (count if passed < 0 else SLOW_PASSES * count):
            highest = heaviest(service, dests, 1 if passed >= 0 else 0)
            if highest == 0:
                return passed
        at += 1
        if at >= count:
            at = 0
        if at == 0 or bar == 0:
            bar -= s.gcd_weight
            if bar <= 0:
                bar = s.max_weight
            if bar > highest:
                bar = highest
        number = ids.id[at]
        if usable(dests, number) and Dest(dests + number * DEST_SIZE).weight >= bar:
            s.position = at
            s.current_weight = bar
            if takes_turn(dests, number, now):
                return number
            if passed < 0:
                passed = number
    return passed


@compiled
def weighted_least_connection(service, dests, stats, now):
    """Smallest (active * 256 + inactive) / weight; the first of equals.

    Slow starters count with part of their weight.
    """
    s = Service(service)
    ids = IdList(s.dests)
    best = -1
    best_load = 0
    best_weight = 1
    for at in range(s.dest_count):
        number = ids.id[at]
        if usable(dests, number):
            d = DestStats(stats + number * STATS_SIZE)
            load = d.active * ACTIVE_FACTOR + d.inactive
            weight = Dest(dests + number * DEST_SIZE).weight * share(dests, number, now)
            # best_load / best_weight > load / weight without a division
            if best < 0 or best_load * weight > load * best_weight:
                best = number
                best_load = load
                best_weight = weight
    return best


@compiled
def failover(service, dests):
    """The heaviest real server that is there and not overloaded (fo); the first of equals."""
    s = Service(service)
    ids = IdList(s.dests)
    best = -1
    weight = 0
    for at in range(s.dest_count):
        d = Dest(dests + ids.id[at] * DEST_SIZE)
        if d.present and d.overload == 0 and d.weight > weight:
            weight = d.weight
            best = ids.id[at]
    return best


@compiled
def schedule_by_hash(service, dests, source, ports, l4):
    """mh and conhash: the same client gets the same real server."""
    if Service(service).scheduler == SCHED_MH:
        return maglev(service, dests, source, ((ports & 0xFF) << 8) | ((ports >> 8) & 0xFF))
    return conhash(service, dests, source, (ports >> 32) & 0xFF, l4)


@compiled
def schedule(service, dests, stats, source, ports, l4, now):
    """Id of the real server a new connection of ``service`` goes to, NOBODY or FAULT (negative).

    ``source``: key of the client's address (ipvs/choose.py), ``ports``: raw with the protocol,
    ``l4``: address of the L4 header, 0 when unknown, ``now``: ms.
    """
    kind = Service(service).scheduler
    if kind == SCHED_RR:
        return round_robin(service, dests, now)
    if kind == SCHED_WRR:
        return weighted_round_robin(service, dests, now)
    if kind == SCHED_WLC:
        return weighted_least_connection(service, dests, stats, now)
    if kind == SCHED_FO:
        return failover(service, dests)
    if kind == SCHED_USER:
        return by_user(service, dests, stats, source, ports, now)
    return schedule_by_hash(service, dests, source, ports, l4)
