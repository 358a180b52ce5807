"""Choosing a real server: rr, wrr and wlc as the reference defines them.  Compiled."""

from __future__ import annotations

from ipvs.dest import DEST_SIZE, STATS_SIZE, Dest, DestStats, usable
from ipvs.service import SCHED_RR, SCHED_WRR, IdList, Service
from runtime.jit import compiled

# Inactive connections weigh this much less than active ones (wlc).
ACTIVE_FACTOR = 256


@compiled
def round_robin(service, dests):
    """Next usable real server after the last one chosen; its id or -1."""
    s = Service(service)
    ids = IdList(s.dests)
    count = s.dest_count
    at = s.position
    for _ in range(count):
        at += 1
        if at >= count:
            at = 0
        number = ids.id[at]
        if usable(dests, number):
            s.position = at
            return number
    return -1


@compiled
def heaviest(service, dests):
    """Largest weight among the usable real servers of a service, 0 when there are none."""
    s = Service(service)
    ids = IdList(s.dests)
    weight = 0
    for at in range(s.dest_count):
        number = ids.id[at]
        if usable(dests, number) and Dest(dests + number * DEST_SIZE).weight > weight:
            weight = Dest(dests + number * DEST_SIZE).weight
    return weight


@compiled
def weighted_round_robin(service, dests):
    """Classic LVS wrr: each pass lowers the bar by the gcd of all weights."""
    s = Service(service)
    ids = IdList(s.dests)
    count = s.dest_count
    if count == 0 or s.max_weight <= 0 or s.gcd_weight <= 0:
        return -1
    at = s.position
    bar = s.current_weight
    highest = s.max_weight
    # After a pass without choice, the bar falls to the heaviest usable server at once: passes that
    # could choose nobody are skipped, so three passes are enough whatever the weights.
    for step in range(3 * count + 1):
        if step == count:
            highest = heaviest(service, dests)
            if highest == 0:
                return -1
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
            return number
    return -1


@compiled
def weighted_least_connection(service, dests, stats):
    """Smallest (active * 256 + inactive) / weight; the first of equals."""
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
            weight = Dest(dests + number * DEST_SIZE).weight
            # best_load / best_weight > load / weight without a division
            if best < 0 or best_load * weight > load * best_weight:
                best = number
                best_load = load
                best_weight = weight
    return best


@compiled
def schedule(service, dests, stats):
    """Id of the real server a new connection of ``service`` goes to, or -1."""
    kind = Service(service).scheduler
    if kind == SCHED_RR:
        return round_robin(service, dests)
    if kind == SCHED_WRR:
        return weighted_round_robin(service, dests)
    return weighted_least_connection(service, dests, stats)
