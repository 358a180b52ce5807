"""``perf/run latency``: how long packets take at half load, alone and while all is changed.

The whole daemon runs: a master with its control socket, and a worker process of its own.  Packets
fall due by the clock, so the time that they wait while the worker is away counts too.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import click

from ipvs.table import table_bytes
from perf import network, options
from perf.balancer import services_of
from perf.errors import PerfError
from perf.huge import pages_for, reserved
from perf.latency_daemon import Measured, measured_daemon
from perf.latency_figures import SHARES, in_microseconds
from perf.latency_work import read_statistics, repeated
from perf.oracle import Oracle
from perf.report import Report, trio
from perf.rounds import spread
from perf.watch import steal_seconds

HEAD = ("case", "time", *(f"{name} us" for name in SHARES))
MEASURES = {
    "arrived to sent": "due_to_sent", "received to sent": "seen_to_sent",
    "between polls": "between_polls",
}  # fmt: skip
VDEV = "net_null0,size=60,copy=0"
BUFFERS = 16383
TABLE = 131071
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
    """Packets a second that the worker takes when as many are there as it likes."""
    best = 0.0
    for _ in range(4):  # in the first, connections are opened
        daemon.prepare(0, 0.0)
        with undisturbed(daemon.pid):
            before = daemon.worker()
            daemon.go(flat_out=True)
            time.sleep(0.4)
            daemon.rest()
            after = daemon.worker()
        cycles = after["busy_cycles"] - before["busy_cycles"]
        packets = after["packets"] - before["packets"]
        best = max(best, packets / max(cycles, 1) * daemon.hz)
        time.sleep(BREATH)
    if daemon.worker()["connections"] != flows:
        raise PerfError(f"{flows} flows opened {daemon.worker()['connections']} connections")
    return best


def check(daemon: Measured, before: dict[str, int], oracle: Oracle) -> int:
    """Packets of a round.  PerfError unless each came out, and the sample is right."""
    after, nic = daemon.worker(), daemon.nic
    dropped = {
        name: after[name] - before[name]
        for name in after
        if (name.startswith("drop_") or name == "tx_dropped") and after[name] != before[name]
    }
    if nic.lost or nic.refused or dropped or nic.sent != nic.received or not nic.sent:
        raise PerfError(
            f"packets were lost: {nic.received} received, {nic.sent} sent, {nic.lost} found no "
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
    steal = steal_seconds(job["cpu"])
    with undisturbed(daemon.pid):
        daemon.go()
        began = time.monotonic()
        daemon.nic.changes_a_second = job["changes"] if busy else 0
        wanted = job["readings"] if busy else 0
        read = repeated(lambda: read_statistics(daemon.control), wanted, job["seconds"])
        daemon.nic.changes_a_second = 0
        seconds = time.monotonic() - began
        daemon.rest()
    steal = steal_seconds(job["cpu"]) - steal
    packets = check(daemon, before, oracle)
    figures = {
        name: in_microseconds(list(getattr(daemon.nic, field)), daemon.hz)
        for name, field in MEASURES.items()
    }
    time.sleep(BREATH)
    return {
        "packets": packets, "mpps": packets / seconds / 1e6, "steal_s": steal,
        "changes_s": daemon.nic.changed / seconds, "readings_s": read / seconds, "us": figures,
    }  # fmt: skip


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """All rounds, quiet and busy ones in turn."""
    text = network.config(services_of("udp"), "fullnat", VDEV, TABLE)
    others = os.sched_getaffinity(0) - {job["cpu"]}
    master = min(others, default=job["cpu"])
    text = text.replace("        cpu_id 0\n", f"        cpu_id {master}\n", 1)
    text = text.replace("        cpu_id 1\n", f"        cpu_id {job['cpu']}\n", 1)
    text = text.replace("netif_defs {\n", f"netif_defs {{\n    pktpool_size {BUFFERS}\n", 1)
    os.setpriority(os.PRIO_PROCESS, 0, -20)  # for the master too: others shall not slow changes
    with measured_daemon(text, job["flows"]) as daemon:
        # Beside a worker that never gives up its cpu, this program would not get on.
        os.sched_setaffinity(0, others or {job["cpu"]})
        links = daemon.control.call("link.show", dev=None, stats=False, verbose=False)
        key = {(network.number(network.VIP), network.PORT)}
        oracle = Oracle("fullnat", key, bytes.fromhex(links[0]["mac"].replace(":", "")))
        full = capacity(daemon, job["flows"])
        cases = {"quiet": False, "changed and read": True}
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
        for _ in range(job["rounds"]):
            for name, busy in cases.items():
                results[name].append(one_round(daemon, oracle, full * job["load"], job, busy))
        excursion = daemon.worker()["longest_excursion_cycles"] / daemon.hz * 1e6
        return {"capacity_mpps": full / 1e6, "cases": results, "longest_excursion_us": excursion}


def _tabulate(report: Report, result: dict[str, Any]) -> None:
    for case, rounds in result["cases"].items():
        for name in MEASURES:
            cells = [
                trio(spread([one["us"][name][share] for one in rounds]), 1) for share in SHARES
            ]
            report.add([case, name, *cells], {"case": case, "time": name, "rounds": [
                one["us"][name] for one in rounds]})  # fmt: skip


@click.command()
@click.option("--flows", type=click.IntRange(1, 100_000), default=1024, show_default=True)
@click.option("--load", type=click.FloatRange(0.01, 0.95), default=0.5, show_default=True,
              help="Share of the rate that the worker can do.")  # fmt: skip
@click.option("--changes", "rate", type=click.IntRange(0, 100_000), default=1000,
              show_default=True, help="Changes a second.")  # fmt: skip
@click.option("--readings", type=click.IntRange(0, 1000), default=10, show_default=True,
              help="Readings of all statistics a second.")  # fmt: skip
@click.option("--depth", type=click.IntRange(32, 32768), default=4096, show_default=True,
              help="Packets that the receive queue holds.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1, 1000), default=7, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.05, 0.8), default=0.7, show_default=True)
@options.CPU
def command(
    flows: int, load: float, rate: int, readings: int, depth: int, rounds: int, seconds: float,
    cpu: int | None,
) -> None:  # fmt: skip
    """Measure latency at part load, while configuration changes and statistics are read."""
    if os.geteuid() != 0:
        raise PerfError("latency needs root: it starts the daemon")
    chosen = max(os.sched_getaffinity(0)) if cpu is None else cpu
    job = {
        "flows": flows, "load": load, "changes": rate, "readings": readings, "depth": depth,
        "rounds": rounds, "seconds": seconds, "cpu": chosen,
    }  # fmt: skip
    with reserved(pages_for(BUFFERS, table_bytes(TABLE))):
        result = measure(job)
    report = Report("latency", HEAD)
    _tabulate(report, result)
    busy = result["cases"]["changed and read"]
    did, read = (spread([one[name] for one in busy]) for name in ("changes_s", "readings_s"))
    mpps = spread([one["mpps"] for case in result["cases"].values() for one in case])
    packets = sum(one["packets"] for case in result["cases"].values() for one in case)
    report.notes += [
        f"min / median / max of {rounds} rounds of {seconds} s; {trio(mpps, 2)} Mpps arrived by "
        f"the clock, {100 * load:.0f}% of the {result['capacity_mpps']:.2f} that the worker does.",
        f"{trio(did)} records a second ({rate:,} wanted) changed routes, neighbours, real servers "
        f"and services; all statistics were read {trio(read, 1)} times a second.",
        f"All {packets:,} packets came out; the first of each round are equal to the oracle's.",
        "arrived: the packet fell due; received: the worker took it; between polls: from one look "
        f"at the port to the next. Longest excursion to the interpreter "
        f"{result['longest_excursion_us']:.0f} us. Worker at real-time priority, never sleeping.",
    ]
    report.data.append({"all": result})
    path = report.save()
    click.echo(report.text() + f"\nwritten: {path} and .json")
