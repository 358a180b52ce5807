"""The authoritative state as a whole: what the daemon creates once and everything else changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from . import replication as stream
from . import timeouts
from .devices import DeviceTable
from .inet_control import InetControl
from .ipvs_control import IpvsControl
from .laddrs import LocalPools
from .providers import CounterSource
from .schedulers import SchedulerControl
from .traffic import Traffic


class ControlState:
    """Devices, addresses, routes, neighbours (`inet`), services (`ipvs`) and parameters.

    All methods of its parts either apply a change completely and publish it, or raise
    ControlError and leave everything as it was. Not thread-safe: one event loop owns it.
    """

    def __init__(
        self,
        publisher: stream.Publisher,
        counters: CounterSource,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.traffic = Traffic(counters)
        self.pools = LocalPools(
            clock,
            self.traffic.laddr_is_idle,
            self.traffic.new_laddr,
            lambda address: self.ipvs.check_pool(address),
        )
        devices = DeviceTable()
        self.schedulers = SchedulerControl(
            publisher, lambda: [service.options.sched for service in self.ipvs.services]
        )
        self.ipvs = IpvsControl(
            publisher, self.pools, self.traffic, devices, clock, self.schedulers
        )
        self.inet = InetControl(publisher, self.pools, clock, self.ipvs.pool_changed, devices)
        self._publisher = publisher
        self._params: dict[str, Any] = {}
        self.operator_timeouts: dict[str, int] = {}

    @property
    def params(self) -> Mapping[str, Any]:
        """Run-time parameters as last set (timeouts, switches)."""
        return self._params

    def set_params(self, changes: Mapping[str, Any]) -> None:
        """Set run-time parameters; the configuration reader has checked their values."""
        new = {name: value for name, value in changes.items() if self._differs(name, value)}
        if new:
            self._params.update(new)
            self._publisher.publish(*stream.params_set(new))

    def set_timeouts(self, chosen: Mapping[str, int]) -> None:
        """Timeouts an operator chose (ipvsadm --set), until the configuration is read again."""
        tcp, udp = timeouts.applied(self._params, chosen)
        self.set_params({"tcp_timeouts": tcp, "udp_timeouts": udp})
        self.operator_timeouts |= chosen

    def set_configured(self, changes: Mapping[str, Any]) -> None:
        """Set run-time parameters as the configuration has them: it wins over --set."""
        self.operator_timeouts.clear()
        self.set_params(changes)

    def _differs(self, name: str, value: Any) -> bool:
        return name not in self._params or self._params[name] != value

    def tick(self, now: float | None = None) -> None:
        """Do what time brings: expire addresses, free ids, sample rates. Call it once a second."""
        now = self.clock() if now is None else now
        self.inet.expire(now)
        for ids in (self.pools.ids, self.ipvs.service_ids, self.ipvs.dest_ids):
            ids.reap()
        self.traffic.sample(now)

    def snapshot(self) -> list[stream.Record]:
        """Records that bring an empty replica to the current state; the stream goes on after."""
        params = [stream.params_set(self._params)] if self._params else []
        return [*params, *self.inet.snapshot(), *self.schedulers.snapshot(), *self.ipvs.snapshot()]

    def summary(self) -> dict[str, int]:
        """Sizes of the tables, for status displays."""
        return {
            "devices": len(self.inet.devices),
            "addresses": len(self.inet.addresses),
            "routes": len(self.inet.routes),
            "neighbours": len(self.inet.neighbours),
            "local_addresses": len(self.pools),
            "services": len(self.ipvs.services),
            "dests": sum(len(service.dests) for service in self.ipvs.services),
            "dest_ids_waiting": self.ipvs.dest_ids.retired,
            "laddr_ids_waiting": self.pools.ids.retired,
        }
