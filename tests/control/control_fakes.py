"""In-memory stand-ins for what the daemon plugs into the control plane, and a naive replica."""

from __future__ import annotations

import asyncio
import copy
import struct
from collections import defaultdict
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from ipvs.user_source import SchedulerError, check_source
from tools.control.context import Context
from tools.control.devices import Device
from tools.control.dispatch import Dispatcher
from tools.control.errors import Code, ControlError
from tools.control.providers import (
    ConnectionPage,
    DestCounters,
    LaddrCounters,
    Lcore,
    NeighbourRow,
)
from tools.control.state import ControlState


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeCounters:
    """Counters in dictionaries, written by the test."""

    def __init__(self, n_workers: int = 2) -> None:
        self.n_workers = n_workers
        self.dests: dict[tuple[int, int], DestCounters] = defaultdict(DestCounters)
        self.laddrs: dict[tuple[int, int], LaddrCounters] = defaultdict(LaddrCounters)
        self.reads = 0

    def dest_counters(self, cid: int, dest_id: int) -> DestCounters:
        assert 1 <= cid <= self.n_workers
        self.reads += 1
        return self.dests[cid, dest_id]

    def laddr_counters(self, cid: int, laddr_id: int) -> LaddrCounters:
        assert 1 <= cid <= self.n_workers
        return self.laddrs[cid, laddr_id]

    def cpu_counters(self, cid: int) -> dict[str, int]:
        return {"lcore_loop": 100 + cid, "ipackets": 7 * cid}

    def named_counters(self, cid: int) -> dict[str, int]:
        return {"rx.bad_checksum": cid}

    def account(self, on: bool | None) -> dict[str, Any]:
        return {"hz": 1000, "stages": ["receive"]}

    def port_stats(self, dev_id: int) -> dict[str, int]:
        return {"ipackets": 1000 + dev_id, "mbuf_avail": 5}

    def port_info(self, dev_id: int) -> dict[str, Any]:
        return {
            "socket": 0,
            "up": True,
            "speed": 10000,
            "duplex": "full-duplex",
            "autoneg": True,
            "offloads": ["OF_RX_IP_CSUM"],
            "xstats": [[0, "rx_good_packets", 1]],
            "info": {"driver_name": "net_null"},
            "queues": ["rx0-tx0     cpu1-cpu1"],
        }


class FakeFleet:
    """Workers that answer from lists; `slow` makes them suspend first."""

    def __init__(self) -> None:
        self.conns: list[dict[str, Any]] = []
        self.rows: list[NeighbourRow] = []
        self.template_rows: list[dict[str, Any]] = []
        self.asked: list[tuple[int, int, Any]] = []
        self.slow = False

    async def connections(self, cursor: int, limit: int, match: Any) -> ConnectionPage:
        if self.slow:
            await asyncio.get_running_loop().create_future()
        self.asked.append((cursor, limit, match))
        end = cursor + limit
        return ConnectionPage(self.conns[cursor:end], end if end < len(self.conns) else 0)

    async def templates(self, cursor: int, limit: int, match: Any) -> ConnectionPage:
        self.asked.append((cursor, limit, match))
        end = cursor + limit
        rows = self.template_rows
        return ConnectionPage(rows[cursor:end], end if end < len(rows) else 0)

    async def neighbours(self) -> list[NeighbourRow]:
        return self.rows


class FakeLinks:
    """Remembers the settings it was asked for; `fault` is raised instead when set."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, str, str]] = []
        self.fault: Exception | None = None

    def set_link(self, dev_id: int, item: str, value: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.calls.append((dev_id, item, value))


class FakeDaemon:
    """A daemon called test with two workers."""

    name = "test"
    lcores = (
        Lcore(0, 0, 0, "master"),
        Lcore(1, 1, 0, "worker", ("dpdk0:rx0", "dpdk0:tx0")),
        Lcore(2, 2, 0, "worker"),
    )

    def __init__(self) -> None:
        self.stopped = False

    def status(self) -> dict[str, Any]:
        return {"workers": ["running", "running"]}

    def stop(self) -> None:
        self.stopped = True

    async def compile_scheduler(self, source: str) -> tuple[bytes, int, tuple[int, ...]]:
        """Checks the source and makes "code" of it; nothing here runs it."""
        try:
            return check_source(source).encode(), 0, ()
        except SchedulerError as error:
            raise ControlError(Code.INVAL, str(error)) from error


class Recorder:
    """A publisher that keeps what was published."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []

    def publish(self, kind: str, body: dict[str, Any]) -> None:
        self.records.append((kind, copy.deepcopy(body)))

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """The records since the last call."""
        records, self.records = self.records, []
        return records


class Replica:
    """What a worker makes of the stream, in the simplest possible way."""

    KEYS = {
        "dev": ("id",),
        "addr": ("addr", "plen", "dev"),
        "route": ("dst", "plen"),
        "neigh": ("addr", "dev"),
        "laddr": ("id",),
        "svc": ("id",),
        "sched": ("name",),
    }

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, dict[str, Any]]] = {name: {} for name in self.KEYS}
        self.params: dict[str, Any] = {}

    def apply(self, records: list[tuple[str, dict[str, Any]]]) -> Replica:
        for kind, body in records:
            table, verb = kind.split(".")
            if table == "param":
                self.params.update(body)
                continue
            if table == "routes":
                self._bulk(verb, body)
                continue
            key = tuple(body[name] for name in self.KEYS[table])
            if verb == "set":
                self.tables[table][key] = body
            else:
                self.tables[table].pop(key, None)
        return self

    def _bulk(self, verb: str, body: dict[str, Any]) -> None:
        """Routes as rows of bytes: six words, length, kind, device, mtu."""
        for row in struct.iter_unpack("<16s16s16sBBHHH", body["rows"]):
            dst, via, src = (self._address(body["version"], raw) for raw in row[:3])
            key = str(dst), row[3]
            if verb == "del":
                self.tables["route"].pop(key, None)
                continue
            self.tables["route"][key] = {
                "dst": key[0], "plen": key[1], "kind": {2: "link", 3: "gateway"}[row[4]],
                "via": str(via) if int(via) else None, "dev": row[5],
                "src": str(src) if int(src) else None, "mtu": row[6],
            }  # fmt: skip

    @staticmethod
    def _address(version: int, raw: bytes) -> IPv4Address | IPv6Address:
        if version == 6:
            return IPv6Address(raw)
        assert raw[:8] == bytes(8)
        return IPv4Address(int.from_bytes(raw[8:], "little"))

    def view(self) -> Any:
        """Everything it knows."""
        return (self.tables, self.params)


class Master:
    """A control plane over the fakes, with two devices and short ways to send requests."""

    def __init__(self, n_workers: int = 2) -> None:
        self.clock = Clock()
        self.counters = FakeCounters(n_workers)
        self.published = Recorder()
        self.fleet, self.links, self.daemon = FakeFleet(), FakeLinks(), FakeDaemon()
        self.state = ControlState(self.published, self.counters, self.clock)
        for number in (0, 1):
            mac = f"02:00:00:00:00:0{number}"
            self.state.inet.add_device(Device(number, f"dpdk{number}", mac))
        context = Context(self.state, self.counters, self.fleet, self.links, self.daemon)
        self.dispatcher = Dispatcher(context)

    def request(self, kind: str, /, **fields: Any) -> dict[str, Any]:
        """The whole reply."""
        return self.dispatcher.dispatch({"v": 1, "seq": 1, "type": kind, **fields})

    def ok(self, kind: str, /, **fields: Any) -> Any:
        """The reply's data; the request must succeed."""
        reply = self.request(kind, **fields)
        assert reply["ok"], reply
        return reply["data"]

    def refused(self, kind: str, /, **fields: Any) -> tuple[int, str]:
        """Code and detail; the request must fail, publish nothing and change nothing."""
        before = Replica().apply(self.state.snapshot()).view()
        self.published.take()
        reply = self.request(kind, **fields)
        assert not reply["ok"], reply
        assert self.published.take() == []
        assert Replica().apply(self.state.snapshot()).view() == before
        return reply["code"], reply["detail"]


def svc(addr: str = "192.0.2.10", port: int = 80, proto: str = "tcp") -> dict[str, Any]:
    """A service key as requests carry it."""
    return {"af": "inet", "proto": proto, "addr": addr, "port": port}


def add(master: Master, text: str, dev: str = "dpdk0", **fields: Any) -> None:
    """Configure an address given as a.b.c.d/len."""
    addr, plen = text.split("/")
    master.ok("addr.add", addr=addr, plen=int(plen), dev=dev, **fields)


def delete(master: Master, text: str, dev: str = "dpdk0") -> None:
    """Remove an address given as a.b.c.d/len."""
    addr, plen = text.split("/")
    master.ok("addr.del", addr=addr, plen=int(plen), dev=dev)


def table(master: Master, **fields: Any) -> list[str]:
    """Routes as short texts, in table order."""
    return [
        f"{row['dst']}/{row['plen']} {row['scope']} {row['dev']}"
        + (f" via {row['via']}" if row["via"] else "")
        + (f" src {row['src']}" if row["src"] else "")
        for row in master.ok("route.show", **fields)
    ]
