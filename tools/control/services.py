"""Virtual services and the real servers behind them, as the operator configured them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .errors import Code, ControlError
from .inettypes import Address, family
from .matches import MatchKey

#: capacity of the workers' flat tables
MAX_SERVICES = 4096
MAX_DESTS = 16384
#: a service is published in one message, which must fit the ring to a worker
MAX_DESTS_PER_SERVICE = 4096


def endpoint(addr: Address, port: int) -> str:
    """addr:port as commands write it, IPv6 in brackets."""
    return f"{addr}:{port}" if addr.version == 4 else f"[{addr}]:{port}"


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """What identifies a virtual service."""

    proto: str
    addr: Address
    port: int

    @property
    def af(self) -> str:
        """inet or inet6."""
        return family(self.addr)

    def __str__(self) -> str:
        return f"{self.proto} {endpoint(self.addr, self.port)}"


AnyKey = ServiceKey | MatchKey


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Everything about a service that `svc.edit` can change. Times are in seconds, 0 = default
    (conn_timeout) or none (persistent)."""

    sched: str = "wlc"
    persistent: int = 0
    netmask: str | None = None
    ops: bool = False
    synproxy: bool = False
    conn_timeout: int = 0
    expire_quiescent: bool = False
    quic: bool = False
    quic_lb: str | None = None
    proxy_protocol: str = "disable"
    hash_target: str | None = None
    sched_flags: tuple[str, ...] = ()
    slow_start: int = 0
    dest_check: tuple[str, ...] = ()

    @property
    def flags(self) -> list[str]:
        """Switched-on options as words, the form workers get."""
        words = ("ops", "synproxy", "quic", "expire_quiescent")
        flags = [word for word in words if getattr(self, word)]
        flags += [f"hash_{self.hash_target}"] if self.hash_target else []
        return flags + [word.replace("-", "_") for word in self.sched_flags]


@dataclass(frozen=True, slots=True)
class DestKey:
    """What identifies a real server within its service."""

    addr: Address
    port: int

    def __str__(self) -> str:
        return endpoint(self.addr, self.port)


@dataclass(frozen=True, slots=True)
class DestOptions:
    """What `dest.edit` can change; thresholds 0 mean none."""

    mode: str
    weight: int = 1
    u_thresh: int = 0
    l_thresh: int = 0
    server_id: str = ""


@dataclass(frozen=True)
class Dest:
    """A real server. `inhibited` takes it out of scheduling without losing its weight."""

    id: int
    key: DestKey
    options: DestOptions
    inhibited: bool = False
    since: float = 0.0  # monotonic seconds, when it could last begin to get connections

    @cached_property
    def record(self) -> dict[str, Any]:
        """Its part of the service's replication record, made once: services are published whole
        at every change, and may have thousands of real servers."""
        return {
            "id": self.id,
            "addr": str(self.key.addr),
            "port": self.key.port,
            "mode": self.options.mode,
            "weight": 0 if self.inhibited else self.options.weight,
            "u_thresh": self.options.u_thresh,
            "l_thresh": self.options.l_thresh,
            **({"server_id": bytes.fromhex(id_)} if (id_ := self.options.server_id) else {}),
        }


@dataclass(frozen=True, slots=True)
class LaddrRef:
    """A local address a service may use, as configured: address and device id."""

    addr: Address
    dev: int


@dataclass(slots=True)
class Service:
    """A virtual service; `dests` is oldest first (workers get it newest first)."""

    id: int
    key: AnyKey
    options: ServiceOptions
    order: int = 0  # match services: grows with every one added
    dests: dict[DestKey, Dest] = field(default_factory=dict)
    laddrs: list[LaddrRef] = field(default_factory=list)

    def dest(self, key: DestKey) -> Dest:
        """The real server, or NOTEXIST."""
        dest = self.dests.get(key)
        if dest is None:
            raise ControlError(Code.NOTEXIST, f"{key} is not a real server of {self.key}")
        return dest

    def newest_first(self) -> list[Dest]:
        """Real servers in the order schedulers see them."""
        return list(reversed(self.dests.values()))


class ServiceTable:
    """All virtual services, in the order they were added."""

    def __init__(self) -> None:
        self._table: dict[AnyKey, Service] = {}

    def find(self, key: AnyKey, missing: Code) -> Service:
        """The service, or the error `missing` (the original varies by command)."""
        service = self._table.get(key)
        if service is None:
            raise ControlError(missing, f"there is no service {key}")
        return service

    def check_absent(self, key: AnyKey) -> None:
        """EXIST when the service is there."""
        if key in self._table:
            raise ControlError(Code.EXIST, f"service {key} exists already")

    def add(self, service: Service) -> None:
        """Enter a service that `check_absent` has passed."""
        self._table[service.key] = service

    def remove(self, service: Service) -> None:
        """Take out a service of this table."""
        del self._table[service.key]

    def __iter__(self) -> Iterator[Service]:
        return iter(list(self._table.values()))

    def __len__(self) -> int:
        return len(self._table)
