"""What operators and monitoring do to a daemon while it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from perf import network
from tools.client import ControlClient

KEY = {"af": "inet", "proto": "udp", "addr": network.VIP, "port": network.PORT}
SERVICE = {
    "sched": "rr", "persistent": 0, "netmask": None, "ops": False, "synproxy": False,
    "conn_timeout": 0, "expire_quiescent": False, "quic": False, "proxy_protocol": "disable",
    "hash_target": None, "dest_check": [],
}  # fmt: skip


def changes() -> Iterator[tuple[str, dict[str, Any]]]:
    """An endless row of requests: a route, a neighbour, a service come and go, and a real server
    of the service that carries the traffic changes its weight.  One record each.
    """
    route = {"af": "inet", "dst": "203.0.113.0/24"}
    spare = {"addr": "198.19.0.99", "dev": network.DEVICE}
    other = {**KEY, "port": 8080}
    dest = {
        "svc": KEY, "addr": network.SERVERS[0], "port": network.PORT, "mode": "fullnat",
        "u_thresh": 0, "l_thresh": 0,
    }  # fmt: skip
    way = {"via": network.GATEWAY, "scope": None, "src": None, "mtu": 0, "metric": 0}
    while True:
        for octet in (1, 2):
            yield "route.add", {**route, **way, "dev": network.DEVICE}
            yield "neigh.add", {**spare, "lladdr": f"02:cc:00:00:00:{octet:02x}"}
            yield "dest.edit", {**dest, "weight": 2}
            yield "svc.add", {**SERVICE, "svc": other}
            yield "route.del", {**route, "dev": network.DEVICE}
            yield "neigh.del", spare
            yield "dest.edit", {**dest, "weight": 1}
            yield "svc.del", {"svc": other}


def read_statistics(control: ControlClient) -> None:
    """Everything that can be read of services, ports, cores, addresses and workers."""
    control.call("svc.list")
    control.call("link.show", dev=None, stats=True, verbose=True)
    control.call("cpu.show", cpu=None, stats=True)
    control.call("addr.show", dev=None, af="inet", stats=True, verbose=True)
    control.call("laddr.list")
    control.call("counters")


def repeated(act: Callable[[], None], rate: float, seconds: float) -> int:
    """Do something ``rate`` times a second for so long; fewer when it takes longer.  How often."""
    began, done = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        if done < now * rate:
            act()
            done += 1
        else:
            time.sleep(min((done + 1) / rate - now, 0.01) if rate else seconds - now)
    return done
