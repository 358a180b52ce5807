"""Apply the master's replication records to one worker's tables (runs between polls).

Record kinds and bodies are those of the control plane's replication stream.  Every record states
a whole object, so applying one twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipvs.apply_check import fault
from ipvs.apply_inet import ApplyError, address_number, mac_number
from ipvs.apply_services import ServiceRecords
from ipvs.table import Table
from ipvs.worker import Worker

# What makes a record's object one and the same, by the first word of its kind.
IDENTITY = {
    "addr": ("addr", "dev"),
    "route": ("dst", "plen"),
    "neigh": ("addr", "dev"),
    "laddr": ("id",),
    "svc": ("id",),
}


class Applier(ServiceRecords):
    """Applies records to ``worker``; ``replicas`` is sa_pool/pool_hash_size (a power of two)."""

    def __init__(self, worker: Worker, replicas: int = 16) -> None:
        self.worker = worker
        self.replicas = replicas
        self.lists: dict[int, Any] = {}
        self.service_dests: dict[int, list[int]] = {}
        self.known: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.snapshot: set[tuple[Any, ...]] | None = None
        self.pool_memory: dict[int, tuple[int, str]] = {}
        self.kinds: dict[str, Callable[[dict[str, Any]], None]] = {
            "dev.set": self.set_device,
            "addr.set": self.set_address,
            "addr.del": self.delete_address,
            "route.set": self.set_route,
            "route.del": self.delete_route,
            "neigh.set": self.set_neighbour,
            "neigh.del": self.delete_neighbour,
            "laddr.set": self.set_local_address,
            "laddr.del": self.delete_local_address,
            "svc.set": self.set_service,
            "svc.del": self.delete_service,
            "param.set": self.set_parameters,
        }

    def apply(self, kind: str, body: dict[str, Any]) -> None:
        """Apply one record; ApplyError when it is unknown or its content impossible."""
        handler = self.kinds.get(kind)
        if handler is None:
            raise ApplyError(f"unknown record kind {kind!r}")
        wrong = fault(kind, body)
        if wrong:
            raise ApplyError(wrong)
        handler(body)
        self._note(kind, body)

    def _note(self, kind: str, body: dict[str, Any]) -> None:
        """Remember what exists, so that a snapshot can tell what no longer does."""
        what, _, verb = kind.partition(".")
        names = IDENTITY.get(what)
        if names is None:
            return
        key = (what, *(body[name] for name in names))
        if verb == "set":
            self.known[key] = {name: body[name] for name in names}
            if self.snapshot is not None:
                self.snapshot.add(key)
        else:
            self.known.pop(key, None)

    def begin_snapshot(self) -> None:
        """A snapshot of everything follows (the stream had a gap, or this worker is new)."""
        self.snapshot = set()

    def end_snapshot(self) -> None:
        """Delete whatever the snapshot did not mention; packets flowed all the while."""
        if self.snapshot is None:
            return
        for key in [key for key in self.known if key not in self.snapshot]:
            self.apply(f"{key[0]}.del", self.known[key])
        self.snapshot = None

    def connections(self) -> int:
        """Connections in the table now."""
        return int(Table(self.context.table).count)


__all__ = ["Applier", "ApplyError", "address_number", "mac_number"]
