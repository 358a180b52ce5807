"""Apply the master's replication records to one worker's tables.

Record kinds and bodies are those of the control plane's replication stream.  Every record states
a whole object, so applying one twice changes nothing.  What comes often is turned into operations
for the polling thread (ipvs/operations.py); for what comes rarely that thread stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipvs.apply_check import fault
from ipvs.apply_inet import ApplyError, address_number, mac_number
from ipvs.apply_services import ServiceRecords
from ipvs.gate import InlineGate
from ipvs.table import Table
from ipvs.worker import Worker

# What makes a record's object one and the same, by the first word of its kind.  Routes have marks
# instead (ipvs/apply_routes.py).
IDENTITY = {
    "addr": ("addr", "dev"),
    "neigh": ("addr", "dev"),
    "laddr": ("id",),
    "svc": ("id",),
    "sched": ("name",),
}


class Applier(ServiceRecords):
    """Applies records to ``worker``; ``replicas`` is sa_pool/pool_hash_size (a power of two).

    ``gate`` leads to the tables; give it another one when another thread begins to poll.
    """

    def __init__(self, worker: Worker, replicas: int = 16) -> None:
        self.worker = worker
        self.gate = InlineGate(worker.address)
        self.replicas = replicas
        self.lists: dict[int, Any] = {}
        self.user_schedulers = {}
        self.old_schedulers = []
        self.service_dests: dict[int, list[int]] = {}
        self.known: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.snapshot: set[tuple[Any, ...]] | None = None
        self.late: list[tuple[str, dict[str, Any]]] = []
        self.pool_memory: dict[int, tuple[int, str]] = {}
        self.listeners = {}
        self.matches: dict[int, tuple[int, dict[str, Any]]] = {}
        # These make operations, and keep packets waiting no longer than those take.
        self.quick: dict[str, Callable[[dict[str, Any]], None]] = {
            "announce": self.announce,
            "addr.set": self.set_address,
            "addr.del": self.delete_address,
            "link.up": self.link_up,
            "mld.querier": self.set_querier,
            "route.set": self.set_route,
            "route.del": self.delete_route,
            "routes.set": self.set_routes,
            "routes.del": self.delete_routes,
            "neigh.set": self.set_neighbour,
            "neigh.del": self.delete_neighbour,
            "laddr.set": self.set_local_address,
            "sched.set": self.set_scheduler,
            "sched.del": self.delete_scheduler,
            "svc.set": self.set_service,
            "svc.del": self.delete_service,
        }
        # These change the tables themselves, while the polling thread stands still.
        self.kinds = self.quick | {
            "dev.set": self.set_device,
            "laddr.del": self.delete_local_address,
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
        if kind in self.quick:
            handler(body)
        else:
            with self.gate.alone():
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

    @property
    def in_snapshot(self) -> bool:
        """Whether a snapshot has begun and not ended."""
        return self.snapshot is not None

    def begin_snapshot(self) -> None:
        """A snapshot of everything follows (the stream had a gap, or this worker is new)."""
        self.snapshot = set()
        self.begin_routes()

    def end_snapshot(self) -> None:
        """Delete whatever the snapshot did not mention; packets flowed all the while."""
        if self.snapshot is None:
            return
        for key in [key for key in self.known if key not in self.snapshot]:
            self.apply(f"{key[0]}.del", self.known[key])
        self.sweep_routes()
        self.snapshot = None
        late, self.late = self.late, []
        for kind, body in late:
            self.apply(kind, body)

    def connections(self) -> int:
        """Connections in the table now."""
        return int(Table(self.context.table).count)


__all__ = ["Applier", "ApplyError", "address_number", "mac_number"]
