"""What a request handler works with, and the shape of a handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .errors import Code, ControlError
from .fields import Fields
from .providers import CounterSource, DaemonOps, FleetOps, LinkOps
from .state import ControlState


@dataclass(frozen=True, slots=True)
class Context:
    """The state and what the daemon plugs in."""

    state: ControlState
    counters: CounterSource
    fleet: FleetOps
    links: LinkOps
    daemon: DaemonOps

    def read_cpu(self, fields: Fields) -> int:
        """Field cpu: 0 (the default) is the whole fleet, n the worker with cid n."""
        cpu = fields.integer("cpu", 0, 65535, default=0)
        if cpu > self.counters.n_workers:
            raise ControlError(
                Code.INVAL, f"there is no worker {cpu}; they are 1..{self.counters.n_workers}"
            )
        return cpu

    def read_device_filter(self, fields: Fields) -> int | None:
        """Field dev of a listing: a device's id, None for all devices."""
        name = fields.optional_text("dev")
        return None if name is None else self.state.inet.devices.named(name).id


#: Reads all fields, calls `done`, then acts; returns the reply's data, msgpack-able.
Handler = Callable[[Context, Fields], Any | Awaitable[Any]]
