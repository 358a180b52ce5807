"""The measuring process of ``routes``: one table of one family, loaded, read and changed."""

from __future__ import annotations

import ctypes
import ipaddress
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from ipvs.apply import Applier
from ipvs.context import Ipvs
from ipvs.worker import Worker, shared_offsets
from netdev.port import PortStruct
from perf import prefixes, route_loops
from perf.errors import PerfError
from perf.loops import tsc_hz
from perf.rounds import spread, undisturbed
from perf.watch import Watch, pin
from stack.context import Stack

LOOKUPS = 1 << 17  # of a round
UPDATES = 1 << 16
RECORDS = 10_000
SAMPLE = 300  # addresses compared with a search through all routes, twice


class Bench:
    """A worker without packets, and routes for it."""

    def __init__(self, version: int, count: int) -> None:
        self.version, self.hz = version, tsc_hz()
        self.shared = (ctypes.c_uint8 * shared_offsets()[1])()
        at = ctypes.addressof(self.shared)
        self.worker = Worker(0, 1, at, int(self.hz), routes=count, routes6=count)
        stack = Stack(Ipvs(self.worker.address).stack)
        self.port = PortStruct()
        stack.ports[0], stack.port_count = ctypes.addressof(self.port), 1
        self.table = int(stack.routes if version == 4 else stack.routes6)
        self.routes = prefixes.make(version, count)
        high, low, lengths = self.routes
        # All int64: numpy makes floating-point numbers of a mixture.
        columns = [*self._raw(high, low), lengths.astype(np.int64), np.arange(count)]
        self.rows = np.ascontiguousarray(np.stack(columns, 1))
        self.out = (ctypes.c_int64 * 1)()

    def _raw(self, high: Any, low: Any) -> tuple[Any, Any]:
        """Addresses as the tables have them: IPv6 in words as they lie on the wire."""
        if self.version == 4:
            return high.view(np.int64), low.view(np.int64)
        return high.byteswap().view(np.int64), low.byteswap().view(np.int64)

    def addresses(self, count: int, seed: int) -> tuple[Any, Any]:
        """(numbers (high, low) by row, words as compiled loops read them)."""
        high, low = prefixes.addresses(self.version, self.routes, count, seed)
        return np.stack([high, low], 1), np.ascontiguousarray(np.stack(self._raw(high, low), 1))

    def load(self) -> int:
        """Enter all routes; bytes that became resident."""
        before = _resident()
        count = len(self.rows)
        if route_loops.load(self.table, self.version, self.rows.ctypes.data, count) != count:
            raise PerfError(f"the table does not hold {count} routes")
        return _resident() - before

    def check(self, seed: int) -> int:
        """Compare some lookups with a search through all routes; how many.  PerfError."""
        plain, words = self.addresses(SAMPLE, seed)
        for i, (high, low) in enumerate(plain):
            at = words.ctypes.data + i * route_loops.ADDRESS_WORDS
            got = route_loops.number_of(self.table, self.version, at)
            expected = prefixes.longest(self.version, self.routes, int(high), int(low))
            if got != expected:
                raise PerfError(f"{high:x}:{low:x} takes route {got}, not {expected}")
        return SAMPLE

    def lookups(self, words: Any) -> float:
        """Cycles a lookup."""
        out = ctypes.addressof(self.out)
        route_loops.look_up(self.table, self.version, words.ctypes.data, len(words), out)
        return self.out[0] / len(words)

    def updates(self) -> float:
        """Routes removed and added again, a second."""
        picked = np.random.default_rng(5).integers(0, len(self.rows), UPDATES).astype(np.int64)
        done = route_loops.replace(
            self.table, self.version, self.rows.ctypes.data, picked.ctypes.data, UPDATES,
            ctypes.addressof(self.out),
        )  # fmt: skip
        if done != UPDATES:
            raise PerfError(f"{UPDATES - done} routes were not in the table any more")
        return UPDATES * self.hz / self.out[0]

    def records(self) -> float:
        """Records of the master applied a second, each setting a route to what it is."""
        applier, bodies = Applier(self.worker), []
        kind: Any = ipaddress.IPv4Address if self.version == 4 else ipaddress.IPv6Address
        picked = np.random.default_rng(6).integers(0, len(self.rows), RECORDS)
        for number in picked.tolist():
            high, low, length = (int(column[number]) for column in self.routes)
            number = number if self.version == 4 else int(np.uint64(number).byteswap())
            bodies.append({
                "dst": str(kind(high << 64 | low)), "plen": length, "kind": "gateway",
                "via": str(kind(number)) if number else None, "dev": 0, "mtu": 1500,
            })  # fmt: skip
        applier.apply("route.set", bodies[0])  # machine code is loaded now
        began = time.perf_counter()
        for body in bodies:
            applier.apply("route.set", body)
        return RECORDS / (time.perf_counter() - began)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """One table of ``routes`` routes of IP ``version``.  Raises PerfError."""
    watch = Watch(pin(job["cpu"]))
    bench = Bench(job["version"], job["routes"])
    _, words = bench.addresses(LOOKUPS, 1)
    bench.lookups(words)  # machine code and pages are there now
    size = bench.load()
    compared = bench.check(2)
    cycles = undisturbed(watch, job["rounds"], lambda: bench.lookups(words))
    updates, records = bench.updates(), bench.records()
    compared += bench.check(3)
    return {
        "version": job["version"], "routes": job["routes"], "hz": bench.hz,
        "lengths": len(np.unique(bench.routes[2])), "cycles": spread(cycles), "memory": size,
        "updates": updates, "records": records, "compared": compared,
        "crowded": watch.crowded_rounds, "set_aside": watch.set_aside,
    }  # fmt: skip
