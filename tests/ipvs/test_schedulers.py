"""rr, wrr and wlc against models written from their descriptions."""

from __future__ import annotations

import functools
import math
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipvs.dest import DEST_SIZE, STATS_SIZE, Dest, DestStats
from ipvs.schedulers import schedule
from ipvs.service import Service, service_at
from tests.rig import Rig
from tests.topology import dest, network, service


@functools.cache
def rig():
    return network(Rig())


def servers_of(number):
    return Dest(rig().w.dests + number * DEST_SIZE)


def stats_of(number):
    return DestStats(rig().w.dest_stats + number * STATS_SIZE)


def prepare(scheduler, servers):
    """A service with one real server for each (weight, inhibited, overloaded, active, inactive)."""
    for number in range(len(servers)):
        stats_of(number).active = stats_of(number).inactive = 0
    dests = [dest(i, weight=s[0], inhibited=s[1]) for i, s in enumerate(servers)]
    rig().apply("svc.del", id=0)  # a service that is replaced goes on with its turns
    service(rig(), dests, sched=scheduler)
    for number, (_, _, overloaded, active, inactive) in enumerate(servers):
        servers_of(number).overload = overloaded
        stats_of(number).active, stats_of(number).inactive = active, inactive


def choose(count):
    """Ids of the next ``count`` choices."""
    w = rig().w
    at = service_at(w.services, 0)
    return [schedule(at, w.dests, w.dest_stats, 0, 0, 0, 0) for _ in range(count)]


def usable(server):
    return server[0] > 0 and not server[1] and not server[2]


SERVERS = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.integers(0, 4).map(lambda n: n == 0),
        st.integers(0, 4).map(lambda n: n == 0),
        st.integers(0, 50),
        st.integers(0, 5000),
    ),
    max_size=8,
)


def naive_rr(servers, count):
    good = [i for i, s in enumerate(servers) if usable(s)]
    return [good[i % len(good)] if good else -1 for i in range(count)]


def naive_wrr(servers, count):
    """The LVS paper's loop: i goes round; every round lowers cw by the gcd of the weights."""
    chosen, i, cw = [], -1, 0
    weights = [s[0] for s in servers]
    if not any(usable(s) for s in servers):
        return [-1] * count
    while len(chosen) < count:
        i = (i + 1) % len(servers)
        if i == 0:
            cw -= math.gcd(*weights)
            if cw <= 0:
                cw = max(weights)
        if weights[i] >= cw and usable(servers[i]):
            chosen.append(i)
    return chosen


def naive_wlc(servers):
    loads = [((256 * s[3] + s[4]) / s[0], i) for i, s in enumerate(servers) if usable(s)]
    return min(loads)[1] if loads else -1


@given(SERVERS)
def test_round_robin(servers):
    prepare("rr", servers)
    assert choose(3 * len(servers) + 1) == naive_rr(servers, 3 * len(servers) + 1)


@settings(max_examples=60)
@given(SERVERS)
def test_weighted_round_robin(servers):
    prepare("wrr", servers)
    count = sum(s[0] for s in servers) + 5
    assert choose(count) == naive_wrr(servers, count)


@given(SERVERS)
def test_weighted_least_connection(servers):
    prepare("wlc", servers)
    assert choose(2) == [naive_wlc(servers)] * 2


def test_wrr_shares_are_the_weights():
    prepare("wrr", [(w, False, False, 0, 0) for w in (5, 1, 0, 3)])
    assert Counter(choose(90)) == {0: 50, 1: 10, 3: 30}


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "wlc"])
def test_a_removed_server_gets_nothing(scheduler):
    prepare(scheduler, [(1, False, False, 0, 0)] * 3)
    service(rig(), [dest(0), dest(2)], sched=scheduler)
    assert 1 not in choose(6)
    assert not servers_of(1).present


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "wlc"])
def test_none_usable(scheduler):
    prepare(scheduler, [(0, False, False, 0, 0), (1, True, False, 0, 0), (1, False, True, 0, 0)])
    assert choose(3) == [-1] * 3
    prepare(scheduler, [])
    assert choose(3) == [-1] * 3


@settings(max_examples=30)
@given(st.sampled_from(["rr", "wrr"]), SERVERS, st.data())
def test_servers_that_come_and_go_between_choices(scheduler, servers, data):
    """Whatever happens meanwhile, a usable server is chosen when there is one."""
    prepare(scheduler, servers)
    for _ in range(6):
        (chosen,) = choose(1)
        good = [
            i for i, s in enumerate(servers)
            if s[0] > 0 and not s[1] and not servers_of(i).overload
        ]  # fmt: skip
        assert chosen in good or (chosen == -1 and not good)
        if servers:
            servers_of(data.draw(st.integers(0, len(servers) - 1))).overload = data.draw(
                st.integers(0, 1)
            )


@pytest.mark.parametrize("scheduler", ["rr", "wrr"])
@pytest.mark.parametrize(("count", "workers"), [(4, 2), (6, 3), (3, 4), (1, 4), (8, 4)])
def test_workers_start_at_different_servers(scheduler, count, workers):
    """Together the workers' first connections spread as evenly as can be."""
    firsts = Counter()
    for index in range(workers):
        one = network(Rig(index=index, workers=workers), laddrs=())
        service(one, [dest(i) for i in range(count)], sched=scheduler)
        at = service_at(one.w.services, 0)
        firsts[schedule(at, one.w.dests, one.w.dest_stats, 0, 0, 0, 0)] += 1
    assert max(firsts.values()) == -(-workers // count)


def test_position_is_kept_inside_the_list():
    prepare("rr", [(1, False, False, 0, 0)] * 3)
    choose(2)
    service(rig(), [dest(0)])
    assert Service(service_at(rig().w.services, 0)).position == -1
    assert choose(2) == [0, 0]


@settings(max_examples=12)
@given(st.sampled_from(["rr", "wrr"]), st.integers(0, 9), st.sampled_from([(1, 1), (3, 3), (9, 2)]))
def test_slow_start_grows_to_the_full_share(scheduler, tenths, weights):
    """A server that came ``tenths`` of its slow start ago gets that part of its turns."""
    service(rig(), [dest(i, weight=w) for i, w in enumerate(weights)], sched=scheduler)
    late = servers_of(0)
    late.slow_start, late.since = 10_000, (-tenths * 1000) & 0xFFFFFFFF
    count = 2000
    got = Counter(choose(count))
    full = weights[0] / sum(weights) if scheduler == "wrr" else 0.5
    wanted = full * tenths / 10
    # What it lets pass goes to the other, so the rounds are shorter than with both.
    assert abs(got[0] / count - wanted / (wanted + 1 - full)) < 0.08
    late.since = (-10_000) & 0xFFFFFFFF
    got = Counter(choose(count))
    assert abs(got[0] / count - full) < 0.01 and late.slow_start == 0


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "wlc"])
def test_slow_starters_alone_serve_at_once(scheduler):
    service(rig(), [dest(i) for i in range(3)], sched=scheduler)
    for i in range(3):
        stats_of(i).active = stats_of(i).inactive = 0
        servers_of(i).slow_start = 10_000
    assert -1 not in choose(30)


def test_wlc_counts_part_of_the_weight():
    service(rig(), [dest(0, weight=4), dest(1, weight=4)], sched="wlc")
    stats_of(0).active, stats_of(1).active = 1, 3
    servers_of(0).slow_start, servers_of(0).since = 10_000, (-1000) & 0xFFFFFFFF
    assert choose(1) == [1]
    servers_of(0).since = (-9000) & 0xFFFFFFFF
    assert choose(1) == [0]


def test_slow_start_by_record():
    """The record tells since when; one that is long there is not slow."""
    began = time.monotonic()
    one, now = network(Rig()), int(began * 1000)
    service(one, [dest(0, slow_start=60, since=now - 20_000), dest(1, slow_start=60, since=0)])
    took = (time.monotonic() - began) * 1000
    first, second = (Dest(one.w.dests + i * DEST_SIZE) for i in range(2))
    age = (one.worker.now() - first.since) & 0xFFFFFFFF
    assert first.slow_start == 60_000 and -10 < age - 20_000 < took + 10
    assert second.slow_start == 0
