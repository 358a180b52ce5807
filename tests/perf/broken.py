"""Measuring processes whose balancer was tampered with: the benchmarks have to notice."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

from ipvs.context import Ipvs
from ipvs.entry import ENTRY_SIZE, LIVE, QUIESCENT, Entry
from ipvs.table import Table
from perf import live, replay_run, route_loops, routes_run
from perf.balancer import Bench
from perf.tap import check_sample
from stack import neigh, route6
from stack.context import Stack

_begin = Bench.__init__


def _wrong_mac(self, *arguments, **named):
    _begin(self, *arguments, **named)
    table = Stack(Ipvs(self.address).stack).neighbours
    for number in range(neigh.NeighbourTable(table).count):
        neigh.Neighbour(neigh.entry_at(table, number)).header[5] ^= 1


def wrong_mac(job):
    """Every neighbour has a wrong MAC address."""
    Bench.__init__ = _wrong_mac
    return replay_run.measure(job)


def wrong_statistics(job):
    """The counters say that a packet is missing."""
    tally = Bench.tally
    calls = iter(range(1 << 30))

    def lossy(self):
        found = tally(self)
        found.sent -= next(calls)
        return found

    Bench.tally = lossy
    return replay_run.measure(job)


def crash(job):
    """Dies."""
    os.kill(os.getpid(), signal.SIGKILL)


def sampled(job):
    """Nothing is wrong here: packets compared, connections that end when their server goes."""
    bench, source = live.build(job)
    try:
        live.grow(bench, source, 0, job["sessions"])
        source.random(job["sessions"])
        compared = check_sample(bench, live.oracle_of(job), 16)
        table = Table(Ipvs(bench.address).table)
        entries = [Entry(table.entries + at * ENTRY_SIZE) for at in range(table.capacity + 1)]
        marked = [e for e in entries if e.live == LIVE and e.flags & QUIESCENT]
        return {"compared": compared, "quiescent": len(marked)}
    finally:
        bench.close()


def replayed(job):
    """Nothing is wrong here either: packets of a file that were compared, and connections."""
    counts = {}

    def unmeasured(bench, watch, oracle, job):
        bench.run(1 + 2 * (job["frames"] // 32 + 1))
        counts.update(compared=check_sample(bench, oracle, 32), connections=bench.connections())
        return counts

    replay_run._measure = unmeasured
    return replay_run.measure(job)


def stay(job):
    """Says that it runs, and does so until it is ended."""
    Path(job["mark"]).write_text(str(os.getpid()))
    time.sleep(60)


def crash_late(job):
    """Dies with DPDK running."""
    live.build(job)
    crash(job)


def wrong_route(job):
    """A route is missing from the table that should be there."""
    load = route_loops.load

    def forgetful(table, version, routes, count):
        done = load(table, version, routes, count)
        for number in range(0, count, 2):
            row = (ctypes.c_int64 * 4).from_address(routes + number * route_loops.ROUTE_WORDS)
            route6.remove6(table, *row[:3])
        return done

    route_loops.load = forgetful
    return routes_run.measure({"rounds": 1, "cpu": None, **job})
