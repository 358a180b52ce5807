"""Rounds of ``perf/run latency``: quiet and busy ones in turn.

A virtual machine's core is slowed by its neighbours now and then.  The packets of such a time say
nothing of us: they are counted apart, and told.  That the core is slowed is seen by a fixed piece
of work that the clocked port does every 20 us (perf/latency_nic.py).  Rounds in which other
programs of this machine had the core are repeated; the kernel counts that.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from perf.errors import PerfError
from perf.latency_daemon import Measured
from perf.latency_nic import SLOTS
from perf.latency_work import read_statistics, repeated
from perf.options import keeping
from perf.oracle import Oracle

MEASURES = {
    "arrived to sent": "due_to_sent", "received to sent": "seen_to_sent",
    "between polls": "between_polls",
}  # fmt: skip
ASIDE = "set aside"
WARM_UP, CAPACITY_ROUNDS = 2, 5
PATIENCE = 12  # rounds tried for each that is wanted
LEAST = 20_000  # packets of a round while the core ran at its speed: p99.99 is to mean something
AWAY = 0.0005  # share of a round that other programs may have
BREATH = 0.25  # seconds between rounds: a real-time worker must leave some of its cpu to others


@contextlib.contextmanager
def undisturbed(pid: int) -> Iterator[None]:
    """Real-time priority for the worker: what isolated cores give it in production."""
    os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


def capacity(daemon: Measured, flows: int) -> float:
    """Packets a second that the worker takes when as many are there as it likes (a median)."""
    rates = []
    for _ in range(WARM_UP + CAPACITY_ROUNDS):  # in the first, connections are opened
        daemon.prepare(0, 0.0)
        with undisturbed(daemon.pid):
            before = daemon.worker()
            daemon.go(flat_out=True)
            time.sleep(0.2)
            daemon.rest()
            after = daemon.worker()
        cycles = after["busy_cycles"] - before["busy_cycles"]
        packets = after["packets"] - before["packets"]
        rates.append(packets / max(cycles, 1) * daemon.hz)
        time.sleep(BREATH)
    if daemon.worker()["connections"] != flows:
        raise PerfError(f"{flows} flows opened {daemon.worker()['connections']} connections")
    return median(rates[WARM_UP:])


def check(daemon: Measured, before: dict[str, int], oracle: Oracle, disturbed: bool = False) -> int:
    """Packets of a round.  PerfError unless each came out, and the sample is right.

    The receive queue may have overflowed while the core was slowed or stood still, or in a round in
    which other programs had it (``disturbed``).
    """
    after, nic = daemon.worker(), daemon.nic
    dropped = {
        name: after[name] - before[name]
        for name in after
        if (name.startswith("drop_") or name == "tx_dropped") and after[name] != before[name]
    }
    lost = 0 if disturbed else nic.lost
    if lost or nic.refused or dropped or nic.sent != nic.received or not nic.sent:
        raise PerfError(
            f"packets were lost: {nic.received} received, {nic.sent} sent, {lost} found no "
            f"room in the receive queue, dropped: {dropped or 'none'}"
        )
    if nic.failed:
        raise PerfError(f"the master refused {nic.failed} of the changes")
    for received, sent in daemon.sample():
        oracle.check(received, sent)
    return int(nic.sent)


def one_round(
    daemon: Measured, oracle: Oracle, rate: float, job: dict[str, Any], busy: bool
) -> dict[str, Any]:
    """Figures of one round, in microseconds."""
    daemon.prepare(job["depth"], rate)
    before = daemon.worker()
    waited = daemon.waited()
    with undisturbed(daemon.pid):
        daemon.go()
        began = time.monotonic()
        daemon.nic.changes_a_second = job["changes"] if busy else 0
        wanted = job["readings"] if busy else 0
        read = repeated(lambda: read_statistics(daemon.control), wanted, job["seconds"])
        daemon.nic.changes_a_second = 0
        seconds = time.monotonic() - began
        daemon.rest()
    away = (daemon.waited() - waited) / seconds
    good = keeping() or away <= AWAY
    packets, nic = check(daemon, before, oracle, disturbed=not good), daemon.nic
    time.sleep(BREATH)
    return {
        "good": good, "away": away, "packets": packets, "mpps": packets / seconds / 1e6,
        "lost": int(nic.lost), "lost_slowed": int(nic.lost_slowed),
        "lost_stalled": int(nic.lost_stalled), "histograms": halves(nic),
        "changes_s": nic.changed / seconds, "readings_s": read / seconds,
    }  # fmt: skip


def halves(nic: Any) -> list[dict[str, list[int]]]:
    """All histograms of a round: with the core at its speed, and slowed."""
    whole = {name: list(getattr(nic, field)) for name, field in MEASURES.items()}
    return [{name: slots[at : at + SLOTS] for name, slots in whole.items()} for at in (0, SLOTS)]


def rounds_of(
    daemon: Measured, oracle: Oracle, rate: float, job: dict[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Quiet and busy rounds in turn, until in enough of each kind the core was ours, and at its
    speed for some time.

    The others come under "set aside".  PerfError when nearly all have to be.
    """
    cases = {"quiet": False, "changed and read": True}
    results: dict[str, list[dict[str, Any]]] = {**{name: [] for name in cases}, ASIDE: []}
    for _ in range(job["rounds"] * PATIENCE):
        for name, busy in cases.items():
            if len(results[name]) < job["rounds"]:
                one = one_round(daemon, oracle, rate, job, busy)
                enough = sum(one["histograms"][0]["arrived to sent"]) >= (LEAST, 1)[keeping()]
                results[name if one["good"] and enough else ASIDE].append({"case": name, **one})
        if all(len(results[name]) == job["rounds"] for name in cases):
            return results
    raise PerfError(
        f"the core was slow or not ours in {len(results[ASIDE])} rounds, {job['rounds']} good ones "
        "of each kind are wanted: no time is shown; stop other programs, or try again"
    )
