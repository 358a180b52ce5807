"""What operators and monitoring do to a daemon while it is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from perf import network
from tools.client import ControlClient

KEY = {"af": "inet", "proto": "udp", "addr": network.VIP, "port": network.PORT}
OTHER = {**KEY, "port": 8080}
ROUTE = {"af": "inet", "dst": "203.0.113.0/24", "via": network.GATEWAY, "dev": network.DEVICE,
         "scope": None, "src": None, "mtu": 0, "metric": 0}  # fmt: skip
SPARE = {"addr": "198.19.0.99", "dev": network.DEVICE}
DEST = {"svc": KEY, "addr": network.SERVERS[0], "port": network.PORT, "mode": "fullnat",
        "u_thresh": 0, "l_thresh": 0}  # fmt: skip
SERVICE = {
    "svc": OTHER, "sched": "rr", "persistent": 0, "netmask": None, "ops": False,
    "synproxy": False, "conn_timeout": 0, "expire_quiescent": False, "quic": False,
    "proxy_protocol": "disable", "hash_target": None, "dest_check": [],
}  # fmt: skip


def changes() -> Iterator[tuple[str, dict[str, Any]]]:
    """An endless row of requests: routes, neighbours, real servers and services come and go."""
    while True:
        for octet in (1, 2):
            yield "route.add", ROUTE
            yield "neigh.add", {**SPARE, "lladdr": f"02:cc:00:00:00:{octet:02x}"}
            yield "dest.edit", {**DEST, "weight": 2}
            yield "svc.add", SERVICE
            yield "route.del", {"af": "inet", "dst": ROUTE["dst"], "dev": network.DEVICE}
            yield "neigh.del", SPARE
            yield "dest.edit", {**DEST, "weight": 1}
            yield "svc.del", {"svc": OTHER}


def read_statistics(control: ControlClient) -> None:
    """Everything that can be read of services, ports, cores, addresses and workers."""
    control.call("svc.list")
    control.call("link.show", dev=None, stats=True, verbose=True)
    control.call("cpu.show", cpu=None, stats=True)
    control.call("addr.show", dev=None, af="inet", stats=True, verbose=True)
    control.call("laddr.list")
    control.call("counters")


@dataclass
class Done:
    """How much of the work was done."""

    changes: int = 0
    readings: int = 0
    seconds: float = 0.0


def work(
    control: ControlClient,
    row: Iterator[tuple[str, dict[str, Any]]],
    seconds: float,
    rate: float,
    readings: float,
) -> Done:
    """For so long, ``rate`` changes and ``readings`` of all statistics a second.

    When the daemon cannot keep up, fewer are done.  Raises ControlError, DaemonDown.
    """
    done = Done()
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        if done.readings < now * readings:
            read_statistics(control)
            done.readings += 1
        elif done.changes < now * rate:
            kind, fields = next(row)
            control.call(kind, **fields)
            done.changes += 1
        else:
            time.sleep(0.0002)
    done.seconds = time.monotonic() - began
    return done
