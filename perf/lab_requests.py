"""HTTP requests of wrk through the balancer: all must be answered, and all servers take part."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perf import namespaces_wrk
from perf.errors import PerfError
from perf.lab_host import Host
from tools import lab_two_arm as net

AT_LEAST = 3  # rounds
AT_MOST = 200


@dataclass
class Load:
    """What rounds of requests brought."""

    rates: list[float] = field(default_factory=list)  # requests a second
    requests: int = 0
    failed: int = 0
    opened: int = 0  # connections that the balancer counted

    def add(self, found: namespaces_wrk.Figures) -> None:
        """One round."""
        self.rates.append(found.rate)
        self.requests += found.requests
        self.failed += found.errors

    def enough(self, wanted: int) -> bool:
        """Whether so many requests were made, in several rounds.  PerfError when it is hopeless."""
        if len(self.rates) >= AT_MOST and self.requests < wanted:
            raise PerfError(f"{self.requests} of {wanted} requests in {AT_MOST} rounds")
        return self.requests >= wanted and len(self.rates) >= AT_LEAST


def shares_of(service: dict[str, Any]) -> list[int]:
    """Connections each real server was given."""
    return [int(dest["stats"]["conns"]) for dest in service["dests"]]


def check(before: list[int], after: list[int], wanted: int, workers: int) -> int:
    """New connections the balancer counted: so many, in equal shares.  Raises PerfError.

    They may be fewer than the requests: a client that takes a port again whose last connection is
    still remembered goes on as that one, to the same real server.
    """
    grown = [new - old for old, new in zip(before, after, strict=True)]
    if sum(grown) < wanted:
        raise PerfError(f"{sum(grown)} new connections were counted instead of {wanted}")
    if max(grown) - min(grown) > workers:
        raise PerfError(f"unequal shares of {sum(grown)} connections: {grown}")
    return sum(grown)


def measure(
    host: Host, requests: int, connects: int, seconds: int, connections: int
) -> tuple[Load, Load]:
    """At least so many requests on kept connections, then so many on one each."""
    url = f"http://{net.VIP}/"
    client = host.network.client
    kept, fresh = Load(), Load()
    with tempfile.TemporaryDirectory(prefix="dpvs-perf-") as scrap:
        for load, wanted, close in ((kept, requests, False), (fresh, connects, True)):
            before = shares_of(host.service("tcp", 80))
            while not load.enough(wanted):
                load.add(namespaces_wrk.run(
                    client, Path(scrap), url, seconds, connections, close
                ))  # fmt: skip
        if not fresh.failed:
            after = shares_of(host.service("tcp", 80))
            fresh.opened = check(before, after, connects, host.workers)
    return kept, fresh
