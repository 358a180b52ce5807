"""The other measuring process of ``routes``: a master with very many routes, and its worker.

Both work in this process in turn, so the seconds are those of both together; in the daemon each has
a processor of its own, or waits for the other's.
"""

from __future__ import annotations

import ctypes
import ipaddress
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ipvs.apply import Applier
from ipvs.context import Ipvs
from ipvs.route_rows import RouteRowStruct
from ipvs.worker import Worker, shared_offsets
from netdev.port import PortStruct
from perf import prefixes
from perf.errors import PerfError
from perf.loops import tsc_hz
from runtime.messages import Channel, MasterPort, WorkerPort, channel_bytes
from stack import route, route6
from stack.address6 import text, words
from stack.context import Stack
from tools.control.addresses import InterfaceAddress
from tools.control.devices import Device
from tools.control.routes import Route
from tools.control.state import ControlState
from tools.daemon.plan import CHANNEL_BYTES
from tools.daemon.worker import serve

# Our address, the gateway of all routes, an address in the gateway's network, one in another.
PLACES = {
    4: ("198.18.0.1/15", "198.18.0.254", "198.18.0.2/15", "192.0.2.1/32"),
    6: ("2001:db8::1/64", "2001:db8::fe", "2001:db8::2/64", "2001:db8:1::1/128"),
}
SAMPLE = 300
DEFAULT_ROUTE = bytes(RouteRowStruct(kind=route.LINK))


class Pair:
    """A master's state and messages, and a worker that can be started again."""

    def __init__(self, version: int, count: int) -> None:
        self.version, self.count = version, count
        self.memory = ctypes.create_string_buffer(channel_bytes(CHANNEL_BYTES) + 128)
        at = (ctypes.addressof(self.memory) + 127) & ~127
        self.channel = Channel.create(at, CHANNEL_BYTES)
        self.messages = MasterPort()
        self.messages.add_worker(0, self.channel)
        self.faults: list[Any] = []
        self.messages.on_event("error", lambda worker, body: self.faults.append(body))
        self.state = ControlState(self, SimpleNamespace(n_workers=1))
        self.inet = self.state.inet
        # The routes of our addresses are among them.
        self.inet.routes.most = {4: count + 100, 6: count + 100}
        for number in (0, 1):
            self.inet.add_device(Device(number, f"dpdk{number}", f"02:00:00:00:00:0{number}"))
        self.routes = prefixes.make(version, count)
        self.start_worker()
        self._warm_up()

    def publish(self, kind: str, body: dict[str, Any]) -> None:
        """Publisher of the control plane."""
        self.messages.cast_all(kind, body)

    def start_worker(self) -> None:
        """A new process of the worker: empty tables, empty rings."""
        self.messages.worker_down(0, "restarted")
        self.shared = (ctypes.c_uint8 * shared_offsets()[1])()
        hz, room = int(tsc_hz()), self.count + 100
        at = ctypes.addressof(self.shared)
        self.worker = Worker(0, 1, at, hz, routes=room, routes6=room)
        stack = Stack(Ipvs(self.worker.address).stack)
        self.ports = PortStruct(tx_queue=-1), PortStruct(tx_queue=-1)
        for index, port in enumerate(self.ports):
            stack.ports[index] = ctypes.addressof(port)
        stack.port_count = len(self.ports)
        self.table = int(stack.routes if self.version == 4 else stack.routes6)
        self.applier = Applier(self.worker)
        self.port = WorkerPort(self.channel)
        serve(self.applier, self.port)

    def _warm_up(self) -> None:
        """Machine code is loaded now: the first route comes and goes."""
        self.applier.apply("routes.set", {"version": self.version, "rows": DEFAULT_ROUTE})
        self.applier.begin_snapshot()
        self.applier.end_snapshot()

    def settle(self) -> float:
        """Let both work until the worker has everything; seconds of the worker alone."""
        seconds = 0.0
        while True:
            moved = self.messages.poll()
            began = time.perf_counter()
            while self.port.handle_some(64, 10000):
                moved += 1
            seconds += time.perf_counter() - began
            if not moved and self.messages.settled(0):
                break
        if self.faults:
            raise PerfError(f"the worker says {self.faults[0]}")
        if self.port.failed or self.port.missed or self.port.ignored or not self.port.synced:
            raise PerfError("the worker did not take all messages")
        return seconds

    def load(self) -> float:
        """Give the master an address and the routes; microseconds a route.  The worker is down."""
        own, gateway, _, _ = PLACES[self.version]
        self.add(own, 0)
        make: Any = ipaddress.IPv4Address if self.version == 4 else ipaddress.IPv6Address
        via = make(gateway)
        began = time.perf_counter()
        for high, low, length in zip(*(column.tolist() for column in self.routes), strict=True):
            self.inet.routing.add(Route(make(high << 64 | low), length, 0, via=via))
        return (time.perf_counter() - began) / self.count * 1e6

    def _entry(self, text: str, dev: int) -> InterfaceAddress:
        interface = ipaddress.ip_interface(text)
        return InterfaceAddress(interface.ip, interface.network.prefixlen, dev)

    def snapshot(self) -> tuple[float, float, float]:
        """Restart the worker: seconds until it has all routes; of master and worker."""
        self.start_worker()
        return self.timed(lambda: self.messages.reset(0, self.state.snapshot()))

    def add(self, text: str, dev: int) -> None:
        """Configure an address."""
        self.inet.add_address(self._entry(text, dev))

    def remove(self, text: str, dev: int) -> None:
        """Remove it."""
        entry = self._entry(text, dev)
        self.inet.delete_address(dev, entry.address, entry.plen)

    def timed(self, change: Callable[[], None]) -> tuple[float, float, float]:
        """Seconds until the worker has what follows from a change; of master and worker."""
        began = time.perf_counter()
        change()
        worker = self.settle()
        whole = time.perf_counter() - began
        return whole, whole - worker, worker

    def check(self, source: str) -> int:
        """Compare the worker's number of routes, and some of them, with what they must be; how
        many.  Raises PerfError."""
        head = self._view(route.RouteTable, route6.Route6Table)(self.table)
        if head.count != len(self.inet.routes):
            raise PerfError(f"the worker has {head.count} of {len(self.inet.routes)} routes")
        wanted = [ipaddress.ip_interface(text).ip for text in (PLACES[self.version][1], source)]
        high, low, lengths = self.routes
        for at in np.random.default_rng(3).integers(0, self.count, SAMPLE).tolist():
            found = self._found(int(high[at]) << 64 | int(low[at]), int(lengths[at]))
            if found != wanted:
                raise PerfError(f"a route of the worker has gateway and source {found}")
        return SAMPLE

    def _view(self, four: Any, six: Any) -> Any:
        return four if self.version == 4 else six

    def _found(self, number: int, length: int) -> list[Any]:
        """Gateway and source of the worker's route to a prefix."""
        if self.version == 4:
            r: Any = route.Route(route.find_exact(self.table, number, length))
            return [ipaddress.IPv4Address(int(one)) for one in (r.gateway, r.source)]
        high, low = words(ipaddress.IPv6Address(number))
        r = route6.Route6(route6.find_exact6(self.table, high, low, length))
        pairs = (r.gateway_high, r.gateway_low), (r.source_high, r.source_low)
        return [ipaddress.IPv6Address(text(*pair)) for pair in pairs]


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """A master with ``routes`` routes of IP ``version`` and one worker.  Raises PerfError."""
    pair = Pair(job["version"], job["routes"])
    load = pair.load()
    own, _, nearer, elsewhere = PLACES[job["version"]]
    snapshots, near, far = [], [], []
    compared = 0
    for _ in range(job["rounds"]):
        snapshots.append(pair.snapshot())
        compared += pair.check(own)
        far.append(pair.timed(lambda: pair.add(elsewhere, 1)))
        compared += pair.check(own)
        pair.timed(lambda: pair.remove(elsewhere, 1))
        near.append(pair.timed(lambda: pair.add(nearer, 0)))
        compared += pair.check(nearer)
        pair.timed(lambda: pair.remove(nearer, 0))
        compared += pair.check(own)
    return {
        "version": job["version"], "routes": job["routes"], "load": load, "compared": compared,
        "snapshot": list(zip(*snapshots, strict=True)),
        "near": list(zip(*near, strict=True)), "far": list(zip(*far, strict=True)),
    }  # fmt: skip
