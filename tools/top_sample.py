"""What ``dpvs top`` reads from the daemon, and what happened between two readings."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from tools.client import Transport

Counts = dict[str, int]
PORT_COUNTERS = ("ipackets", "opackets", "ibytes", "obytes", "imissed", "ierrors", "oerrors",
                 "rx_nombuf")  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """All counters at one moment (seconds of a clock that only goes forward)."""

    at: float
    name: str
    uptime: int
    hz: int
    stages: tuple[str, ...]
    workers: dict[int, Counts]
    states: dict[int, str]
    ports: dict[str, Counts]


def read(transport: Transport, accounting: bool | None) -> Sample:
    """Read everything, and switch cycle accounting by stage on or off (None: leave it).

    A worker that was replaced has it off, so a watcher asks anew each time.
    Raises ControlError, DaemonDown.
    """
    switch = {} if accounting is None else {"on": accounting}
    about = transport.call("accounting", **switch)
    named = transport.call("counters")["workers"]
    links = transport.call("link.show", dev=None, stats=True, verbose=False)
    status = transport.call("status")
    at = time.monotonic()
    workers: dict[int, Counts] = {row["cid"]: dict(row["counters"]) for row in named}
    states = {}
    for row in status["workers"]:
        counts = workers.setdefault(row["cid"], {})
        counts.update({k: v for k, v in row.items() if isinstance(v, int)})
        states[row["cid"]] = str(row.get("state", ""))
    ports = {
        row["name"]: {name: int(row["stats"].get(name, 0)) for name in PORT_COUNTERS}
        for row in links
    }
    return Sample(
        at, str(status["name"]), int(status["uptime"]), int(about["hz"]),
        tuple(about["stages"]), workers, states, ports,
    )  # fmt: skip


@dataclass(frozen=True)
class WorkerView:
    """One worker (or all, cid 0) over an interval; rates are per second."""

    cid: int
    state: str = ""
    load: float = 0.0  # share of the worker's time spent on packets, 0 to 1
    packets_in: float = 0.0
    packets_out: float = 0.0
    total_in: int = 0  # since start, as the port counters count
    total_out: int = 0
    busy_polls: float = 0.0
    idle_polls: float = 0.0
    handed_in: float = 0.0
    handed_out: float = 0.0
    connections: int = 0
    excursion_us: float = 0.0  # longest time outside of compiled code since start
    stages: dict[str, float] | None = None  # cycles a packet; None: no packet was accounted
    drops: dict[str, float] = field(default_factory=dict)
    drop_totals: Counts = field(default_factory=dict)


@dataclass(frozen=True)
class PortView:
    """One port (or all, name "total") over an interval; rates are per second."""

    name: str
    packets_in: float
    packets_out: float
    bytes_in: float
    bytes_out: float
    total_in: int
    total_out: int
    lost: float  # missed by the device, errors, no buffer


@dataclass(frozen=True)
class View:
    """What one screen shows."""

    name: str
    uptime: int
    seconds: float
    stages: tuple[str, ...]
    workers: list[WorkerView]
    total: WorkerView
    ports: list[PortView]
    port_total: PortView


def _growth(now: Counts, before: Counts, name: str) -> int:
    # A replaced worker begins at zero again.
    return max(now.get(name, 0) - before.get(name, 0), 0)


def _worker(
    cid: int, state: str, now: Counts, before: Counts, new: Sample, seconds: float
) -> WorkerView:
    def rate(name: str) -> float:
        return _growth(now, before, name) / seconds

    busy, idle = (_growth(now, before, name) for name in ("busy_cycles", "idle_cycles"))
    accounted = _growth(now, before, "cycles_packets")
    spent = {name: _growth(now, before, f"cycles_{name}") for name in new.stages}
    reasons = [name for name in now if name.startswith("drop_") or name == "tx_dropped"]
    return WorkerView(
        cid, state, busy / (busy + idle) if busy + idle else 0.0,
        rate("ipackets"), rate("opackets"), now.get("ipackets", 0), now.get("opackets", 0),
        max(rate("pktburst") - rate("zpktburst"), 0.0), rate("zpktburst"),
        rate("handed_in"), rate("handed_out"), now.get("connections", 0),
        now.get("longest_excursion_cycles", 0) / new.hz * 1e6,
        {name: cycles / accounted for name, cycles in spent.items()} if accounted else None,
        {name.removeprefix("drop_"): rate(name) for name in reasons},
        {name.removeprefix("drop_"): now[name] for name in reasons},
    )  # fmt: skip


def _port(name: str, now: Counts, before: Counts, seconds: float) -> PortView:
    rates = {key: _growth(now, before, key) / seconds for key in PORT_COUNTERS}
    lost = sum(rates[key] for key in ("imissed", "ierrors", "oerrors", "rx_nombuf"))
    return PortView(
        name, rates["ipackets"], rates["opackets"], rates["ibytes"], rates["obytes"],
        now.get("ipackets", 0), now.get("opackets", 0), lost,
    )  # fmt: skip


def _sum(maps: list[Counts], most: tuple[str, ...] = ()) -> Counts:
    total: Counts = {}
    for counts in maps:
        for name, value in counts.items():
            was = total.get(name, 0)
            total[name] = max(was, value) if name in most else was + value
    return total


def _since(now: dict[Any, Counts], before: dict[Any, Counts], total: Counts) -> Counts:
    """What ``total`` of ``now`` grew from when each of them grew by itself.

    A replaced one begins at zero again: the difference of sums would hide what the others did.
    """
    since = dict(total)
    for key, counts in now.items():
        for name in counts:
            since[name] -= _growth(counts, before.get(key, {}), name)
    return since


def compare(old: Sample, new: Sample) -> View:
    """What happened between two samples."""
    seconds = max(new.at - old.at, 1e-6)
    rows = [
        _worker(cid, new.states.get(cid, ""), now, old.workers.get(cid, {}), new, seconds)
        for cid, now in sorted(new.workers.items())
    ]
    ports = [_port(name, now, old.ports.get(name, {}), seconds) for name, now in new.ports.items()]
    most = ("longest_excursion_cycles",)
    workers = _sum(list(new.workers.values()), most)
    since = _since(new.workers, old.workers, workers)
    together = _worker(0, "", workers, since, new, seconds)
    sums = _sum(list(new.ports.values()))
    total = _port("total", sums, _since(new.ports, old.ports, sums), seconds)
    return View(new.name, new.uptime, seconds, new.stages, rows, together, ports, total)
