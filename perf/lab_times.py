"""Seconds from a start to the first forwarded packet, and from a kill until all goes on."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

import click

from perf.errors import PerfError
from perf.lab_host import ECHO, Host
from tools import lab_two_arm as net

RESTED = 10.5  # seconds a worker has to run before it is started again at once (supervise_worker)
SETTLE = 4.0  # seconds after which everything that goes on has done so; later is a failure
CONNECTIONS = 20
ARP_RETRY_MS = 20  # of the client: the measured time must not be a wait for its kernel


@dataclass
class Times:
    """Seconds, and what went wrong."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def start_seconds(host: Host, cache: str) -> float:
    """From `dpvs start` until a client has the answer to its first datagram."""
    host.balancer.environment["DPVS_CACHE_DIR"] = cache
    with host.asking("probe", net.VIP, ECHO) as client:
        began = time.monotonic()
        host.balancer.start()
        client.go()
        answered = float(client.read()["answered"])
    host.balancer.stop()
    if not answered:
        raise PerfError(f"started, but forwards nothing: {host.balancer.log_tail(1)}")
    return answered - began


def starts(host: Host, cold: int, warm: int) -> tuple[Times, Times]:
    """So many starts with an empty compile cache, then with a filled one."""
    host.network.client.sysctl("net.ipv4.neigh.eth0.retrans_time_ms", str(ARP_RETRY_MS))
    first, again = Times(), Times()
    with tempfile.TemporaryDirectory(prefix="dpvs-perf-", ignore_cleanup_errors=True) as scrap:
        for number in range(cold):
            cache = f"{scrap}/{number}"
            first.seconds.append(start_seconds(host, cache))
            click.echo(f"cold start: {first.seconds[-1]:.1f} s", err=True)
        for _ in range(warm):
            again.seconds.append(start_seconds(host, f"{scrap}/0"))
    return first, again


def outage(lines: list[dict[str, Any]], killed: float) -> tuple[float, list[str]]:
    """Seconds from the kill until the last connection went on, and what is wrong with others.

    ``lines`` is what ``lab_clients.py hold`` reports: a connection that went on has its longest
    wait around the kill, and has had answers since.
    """
    last, wrong = 0.0, []
    for line in lines:
        begin, end = line["longest"]
        if line["error"]:
            wrong.append(f"{line['server']}: {line['error']}")
        elif line["answered"] < killed + SETTLE / 2:
            wrong.append(f"{line['server']}: silent after the kill")
        elif begin < killed + 0.1 and end > killed:
            last = max(last, end - killed)
    return last, wrong


def kill_once(host: Host) -> tuple[float, float, list[str]]:
    """Kill the worker under load: seconds until it forwards, until all go on; what went wrong."""
    while (row := host.worker())["state"] != "up" or row["uptime"] < RESTED:
        time.sleep(0.5)
    with (
        host.asking("hold", net.VIP, ECHO, CONNECTIONS) as client,
        host.asking("probe", net.VIP, ECHO) as datagrams,
    ):
        time.sleep(0.5)
        killed = time.monotonic()
        os.kill(int(row["pid"]), signal.SIGKILL)
        time.sleep(0.02)  # what it sent is on its way to the client now
        datagrams.go()
        forwards = float(datagrams.read()["answered"]) - killed
        time.sleep(max(0.0, killed + SETTLE - time.monotonic()))
        listed = host.service("tcp", ECHO)["dests"]
        client.go()
        seconds, wrong = outage(client.read()["lines"], killed)
    if sum(dest["active"] + dest["inactive"] for dest in listed) < CONNECTIONS:
        wrong.append("connections are missing in the list")
    now = host.worker()
    if now["pid"] == row["pid"] or now["last_exit"] != "killed by SIGKILL":
        wrong.append(f"the worker was not killed: {now['last_exit']}")
    return forwards, seconds, wrong


def kills(host: Host, count: int) -> tuple[Times, Times]:
    """So many kills: when datagrams are forwarded again, when established connections go on."""
    forwards, goes_on = Times(), Times()
    host.balancer.start()
    for _ in range(count):
        first, seconds, wrong = kill_once(host)
        forwards.seconds.append(first)
        goes_on.seconds.append(seconds)
        goes_on.failed += wrong
    return forwards, goes_on
