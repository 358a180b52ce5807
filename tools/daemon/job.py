"""What the master tells a worker process on its command line (JSON)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ipvs.worker import ROUTES


@dataclass
class PortJob:
    """One port as one worker uses it; a queue of -1: none.

    ``reta`` is the indirection table of its RSS if that is known: worker by hash.
    """

    dpdk_port: int
    mac: str
    mtu: int
    rx_queue: int
    tx_queue: int
    reta: list[int] = field(default_factory=list)
    tap: str = ""
    """Its kernel interface, when it is a tap."""


@dataclass
class WorkerJob:
    """Everything a worker needs to start."""

    name: str
    index: int
    count: int
    eal: list[str]
    ports: list[PortJob]
    capacity: int
    replicas: int
    idle_sleep_us: int
    rss_key: str
    worker_cpus: list[int] = field(default_factory=list)
    """CPUs that poll: nothing else should run there."""
    routes: int = ROUTES
    routes6: int = ROUTES
    log_level: str = "INFO"
    log_file: str | None = None

    def to_text(self) -> str:
        """One line for the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> WorkerJob:
        """Read what ``to_text`` wrote; raises ValueError or TypeError for anything else."""
        data: dict[str, Any] = json.loads(text)
        data["ports"] = [PortJob(**port) for port in data["ports"]]
        return cls(**data)
