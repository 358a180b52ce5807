"""What the daemon plugs into the control plane: counters, workers, links, itself.

The control plane only reads through these protocols, so it runs unchanged in the daemon (shared
memory, DPDK), in offline mode (one embedded worker) and in tests (plain objects).
Worker cids are 1..n_workers; cid 0 is the master.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class DestCounters(NamedTuple):
    """Counters of one real server on one worker (or summed), as the workers count them."""

    conns: int = 0
    inpkts: int = 0
    outpkts: int = 0
    inbytes: int = 0
    outbytes: int = 0
    active: int = 0
    inactive: int = 0
    templates: int = 0


class LaddrCounters(NamedTuple):
    """Port pool of one local address on one worker (or summed); `miss` counts failed requests."""

    used: int = 0
    free: int = 0
    miss: int = 0


class CounterSource(Protocol):
    """Counters in shared memory. Every read is cheap and never waits for a worker.

    An id that nobody has used yet reads as zeroes.
    """

    @property
    def n_workers(self) -> int:
        """Number of forwarding workers."""

    def dest_counters(self, cid: int, dest_id: int) -> DestCounters:
        """Counters of a real server on worker `cid`; they only ever grow, but for
        active and inactive; templates (of persistence) are this worker's part of what all workers'
        add up to, and may be negative."""

    def laddr_counters(self, cid: int, laddr_id: int) -> LaddrCounters:
        """Port pool state of a local address on worker `cid`."""

    def cpu_counters(self, cid: int) -> Mapping[str, int]:
        """The `dpip link show cpu -s` names (lcore_loop, pktburst, ...) of cid 0..n_workers."""

    def named_counters(self, cid: int) -> Mapping[str, int]:
        """Every named counter of worker `cid` (drop reasons and so on)."""

    def account(self, on: bool | None) -> Mapping[str, Any]:
        """Switch cycle accounting by stage (None: leave it) of all workers; hz of the cycle
        counter and the stages whose cycles are counted as cycles_STAGE."""

    def port_stats(self, dev_id: int) -> Mapping[str, int]:
        """ipackets, opackets, ibytes, obytes, ierrors, oerrors, imissed, rx_nombuf, mbuf_avail,
        mbuf_inuse of a device."""

    def port_info(self, dev_id: int) -> Mapping[str, Any]:
        """Live link data of a device: socket, up, speed (Mbps), duplex, autoneg, offloads (words),
        and for verbose listings xstats ([id, name, value] rows or None), info (map or None),
        queues (text rows)."""


@dataclass(frozen=True, slots=True)
class NeighbourRow:
    """One worker's view of a neighbour; `mac` is None while it is not resolved."""

    cid: int
    address: str
    mac: str | None
    dev: int
    state: str
    static: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionPage:
    """A slice of the connection list; `cursor` continues it, 0 means that it is complete."""

    conns: Sequence[Mapping[str, Any]]
    cursor: int


class FleetOps(Protocol):
    """What only the workers know and must be asked for by message; may raise ControlError."""

    async def connections(
        self, cursor: int, limit: int, match: Mapping[str, Any] | None
    ) -> ConnectionPage:
        """Connections from `cursor` on (0 starts), at most `limit`, optionally only those that
        match proto, saddr, sport, daddr, dport."""

    async def templates(
        self, cursor: int, limit: int, match: Mapping[str, Any] | None
    ) -> ConnectionPage:
        """Likewise the templates of persistence."""

    async def neighbours(self) -> Sequence[NeighbourRow]:
        """Neighbour entries of all workers."""


class LinkOps(Protocol):
    """Changes of a device's link settings."""

    def set_link(self, dev_id: int, item: str, value: str) -> None:
        """Apply one checked setting (promisc on|off, allmulticast on|off, link up|down, addr MAC).

        Raises ControlError when the device refuses.
        """


@dataclass(frozen=True, slots=True)
class Lcore:
    """A core of the daemon as `dpip link show cpu` lists it."""

    cid: int
    cpu: int
    socket: int
    role: str
    queues: Sequence[str] = ()


class DaemonOps(Protocol):
    """The daemon's own facts and its stop button."""

    @property
    def name(self) -> str:
        """Instance name."""

    @property
    def lcores(self) -> Sequence[Lcore]:
        """Master first, then workers by cid."""

    def status(self) -> Mapping[str, Any]:
        """Free-form, msgpack-able map of master and worker state."""

    def stop(self) -> None:
        """Ask for a clean stop; returns at once."""

    async def compile_scheduler(self, source: str) -> tuple[bytes, int, tuple[int, ...]]:
        """Machine code, entry and fixups of a scheduler's source; ControlError tells a mistake."""
