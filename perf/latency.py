"""``perf/run latency``: how long packets take at half load, alone and while all is changed.

The whole daemon runs: a master with its control socket, and a worker process of its own.  Packets
fall due by the clock, so the time that they wait while the worker is away counts too.
"""

from __future__ import annotations

import os
from statistics import mean
from typing import Any

import click

from ipvs.table import table_bytes
from perf import network, options
from perf.balancer import services_of
from perf.errors import PerfError
from perf.huge import pages_for, reserved
from perf.latency_daemon import SLOW, STALL, measured_daemon
from perf.latency_figures import SHARES, in_microseconds
from perf.latency_rounds import ASIDE, MEASURES, capacity, rounds_of
from perf.oracle import Oracle
from perf.report import Report, trio
from perf.rounds import spread

HEAD = ("case", "time", *(f"{name} us" for name in SHARES))
VDEV = "net_null0,size=60,copy=0"
BUFFERS = 16383
TABLE = 131071


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
        results = rounds_of(daemon, oracle, full * job["load"], job)
        excursion = daemon.worker()["longest_excursion_cycles"] / daemon.hz * 1e6
        stalled = sum(one["lost_stalled"] for case in results.values() for one in case)
        if stalled and excursion >= STALL * 1e6:
            raise PerfError(f"{stalled} packets were lost while a change took {excursion:.0f} us")
        return {
            "hz": daemon.hz, "capacity_mpps": full / 1e6, "longest_excursion_us": excursion,
            ASIDE: results.pop(ASIDE), "cases": results,
        }  # fmt: skip


def disturbances(result: dict[str, Any]) -> list[str]:
    """What was slow or lost because of others, in words."""
    rounds = [one for case in result["cases"].values() for one in case]
    slowed = [sum(one["histograms"][1]["arrived to sent"]) for one in rounds]
    packets = sum(one["packets"] for one in rounds)
    text = [
        f"{100 * sum(slowed) / packets:.1f}% of the packets are not in these figures: meanwhile "
        f"the core did a fixed piece of work more than {SLOW} times slower than at its best, and "
        f"{sum(one['lost_slowed'] for one in rounds):,} packets more found the receive queue full; "
        f"{sum(one['lost_stalled'] for one in rounds):,} did after the core had stood still for "
        f"more than {STALL * 1e6:.0f} us. At its speed: none.",
    ]
    if aside := result[ASIDE]:
        text.append(
            f"{len(aside)} more rounds were repeated: other programs had the core "
            f"({100 * mean(one['away'] for one in aside):.2f}% of the time) or it was never fast."
        )
    return text


def _tabulate(report: Report, result: dict[str, Any]) -> None:
    for case, rounds in result["cases"].items():
        for name in MEASURES:
            us = [in_microseconds(one["histograms"][0][name], result["hz"]) for one in rounds]
            cells = [trio(spread([one[share] for one in us]), 1) for share in SHARES]
            report.add([case, name, *cells], {"case": case, "time": name, "rounds": us})


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
@click.option("--rounds", type=click.IntRange(1, 1000), default=9, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.05, 0.8), default=0.25, show_default=True)
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
        *disturbances(result),
        "arrived: the packet fell due; received: the worker took it; between polls: from one look "
        f"at the port to the next. Longest excursion to the interpreter "
        f"{result['longest_excursion_us']:.0f} us. Worker at real-time priority, never sleeping.",
    ]
    for one in [*result[ASIDE], *(one for case in result["cases"].values() for one in case)]:
        del one["histograms"]  # too long to keep
    report.data.append({"all": result})
    report.finish()
