"""Build the context of one worker: allocate its private tables, attach the shared ones."""

from __future__ import annotations

import ctypes
import mmap
import os
from dataclasses import dataclass, field

from ipvs import rebuild, rss, table, tcp, templates
from ipvs.context import Ipvs, IpvsStruct
from ipvs.control import Control, ControlStruct
from ipvs.datagrams import DatagramsStruct
from ipvs.dest import DEST_SIZE, MAX_DESTS, STATS_SIZE
from ipvs.laddr import LADDR_SIZE, LADDR_STATS_SIZE, MAX_LADDRS
from ipvs.loop import milliseconds
from ipvs.rules import RulesStruct
from ipvs.service import ServiceTableStruct
from netdev.mbuf import PoolCalls, PoolCallsStruct
from netdev.port import MAX_PORTS, Port, PortStruct
from runtime.heartbeat import LifeBlock
from runtime.intrinsics import rdtsc
from stack import dad, mld_table, neigh, route, route6
from stack.context import Stack, StackStruct
from stack.drops import DROP_SLOTS
from stack.events import EventQueueStruct

DROPS_SIZE = DROP_SLOTS * 8
# Counters in the context that go on when a worker is replaced.
COUNTED = (
    "polls", "empty_polls", "half_polls", "full_polls", "handed_out", "handed_in",
    "idle_probed", "idle_resets", "idle_untold",
)  # fmt: skip
OWN_TEMPLATES = 1024  # of a worker that shares no table
ROUTES = 1 << 16  # of each family: 36 and 68 bytes, taken from the system as they are used

# What the master reads without asking: control and pulse, drops, counters of ports, real servers,
# local addresses, templates.
SHARED_LAYOUT = (
    ("control", ctypes.sizeof(ControlStruct)),
    ("drops", DROPS_SIZE),
    ("context", ctypes.sizeof(IpvsStruct)),
    ("ports", ctypes.sizeof(PortStruct) * MAX_PORTS),
    ("dest_stats", MAX_DESTS * STATS_SIZE),
    ("laddr_stats", MAX_LADDRS * LADDR_STATS_SIZE),
    ("dest_templates", MAX_DESTS * 8),
)


def shared_offsets() -> tuple[dict[str, int], int]:
    """(name -> offset, total size) of a worker's shared block; parts start on cache lines."""
    offsets, at = {}, 0
    for name, size in SHARED_LAYOUT:
        offsets[name] = at
        at = (at + size + 63) & ~63
    return offsets, at


class Memory:
    """Zeroed, page-aligned private memory that lives as long as this object."""

    def __init__(self) -> None:
        self._blocks: list[mmap.mmap] = []

    def take(self, size: int) -> int:
        """Address of ``size`` fresh zero bytes."""
        block = mmap.mmap(-1, max(size, 4096))
        if size >= 1 << 21 and hasattr(mmap, "MADV_HUGEPAGE"):
            block.madvise(mmap.MADV_HUGEPAGE)
        self._blocks.append(block)
        return ctypes.addressof(ctypes.c_char.from_buffer(block))


@dataclass
class Worker:
    """One worker's context and the memory behind it.

    ``shared`` is the address of a zeroed or earlier block of ``shared_offsets()[1]`` bytes;
    ``routes`` and ``routes6`` are what the route tables hold.
    """

    index: int
    count: int
    shared: int
    tsc_hz: int
    memory: Memory = field(default_factory=Memory)
    routes: int = ROUTES
    routes6: int = ROUTES
    address: int = 0
    recovered: int = 0

    def __post_init__(self) -> None:
        offsets, _ = shared_offsets()
        self.address = self.shared + offsets["context"]
        w, take = Ipvs(self.address), self.memory.take
        counted = [getattr(w, name) for name in COUNTED]
        ctypes.memset(self.address, 0, ctypes.sizeof(IpvsStruct))
        for name, value in zip(COUNTED, counted, strict=True):
            setattr(w, name, value)
        w.control = self.shared + offsets["control"]
        w.dest_stats = self.shared + offsets["dest_stats"]
        w.laddr_stats = self.shared + offsets["laddr_stats"]
        w.dest_templates = self.shared + offsets["dest_templates"]
        self._start_control(w.control)
        w.stack = self._stack(self.shared + offsets["drops"])
        w.services = take(ctypes.sizeof(ServiceTableStruct))
        w.rules = take(ctypes.sizeof(RulesStruct))
        w.dests = take(MAX_DESTS * DEST_SIZE)
        w.laddrs = take(MAX_LADDRS * LADDR_SIZE)
        w.states = take(ctypes.sizeof(tcp.StateTablesStruct))
        tcp.fill_tables(w.states)
        w.rss = take(ctypes.sizeof(rss.RssStruct))
        w.datagrams = take(ctypes.sizeof(DatagramsStruct))
        w.init_timeout = 3
        own = take(templates.templates_bytes(OWN_TEMPLATES))
        templates.initialise(own, OWN_TEMPLATES)
        w.templates = own
        w.worker, w.workers = self.index, self.count

    def _start_control(self, control: int) -> None:
        c = Control(control)
        c.empty = c.wait_count = 0
        c.life = self.memory.take(ctypes.sizeof(LifeBlock))
        c.tsc_scale = (1000 << 64) // self.tsc_hz
        c.visit = c.parked = 0

    def _stack(self, drops: int) -> int:
        take = self.memory.take
        address = take(ctypes.sizeof(StackStruct))
        s = Stack(address)
        s.drops = drops
        s.calls = take(ctypes.sizeof(PoolCallsStruct))
        s.routes = take(route.size_bytes(self.routes))
        route.initialise(s.routes, self.routes)
        s.routes6 = take(route6.size_bytes(self.routes6))
        route6.initialise(s.routes6, self.routes6)
        s.neighbours = take(ctypes.sizeof(neigh.NeighbourTableStruct))
        table_ = neigh.NeighbourTable(s.neighbours)
        table_.reachable_ms = 60000
        table_.queue_limit = 128
        table_.seed = int.from_bytes(os.urandom(7), "little")
        s.dad = take(ctypes.sizeof(dad.DadTableStruct))
        s.mld = take(ctypes.sizeof(mld_table.MldTableStruct))
        mld_table.initialise(s.mld, int.from_bytes(os.urandom(7), "little"))
        s.events = take(ctypes.sizeof(EventQueueStruct))
        s.worker, s.workers = self.index, self.count
        s.generation = 1
        # Workers send from the same addresses: their ids begin far apart.
        s.ip_id = (self.index << 16) // self.count
        s.icmp_tokens = 100
        s.now = self.now()
        return address

    def now(self) -> int:
        """The worker clock in milliseconds."""
        return int(milliseconds((1000 << 64) // self.tsc_hz, rdtsc()))

    def attach_templates(self, address: int) -> None:
        """Use the table of templates that all workers share; before the connection table."""
        templates.break_locks(address, self.index + 1)
        Ipvs(self.address).templates = address

    def attach_table(self, address: int, length: int, capacity: int) -> None:
        """Use the connection table at ``address``: recovered if there is one, else laid out.

        Raises ValueError when ``length`` bytes do not hold ``capacity`` connections.
        """
        if length < table.table_bytes(capacity):
            raise ValueError(f"{length} bytes are too few for {capacity} connections")
        w = Ipvs(self.address)
        w.table = address
        w.index = address + table.INDEX_AT
        if rebuild.is_table(address, length) and table.Table(address).capacity == capacity:
            self.recovered = rebuild.recover(self.address, self.now())
        else:
            rebuild.start_empty(self.address, length, capacity, self.now())

    def add_port(self, fast: int, mac: str, rx_queue: int, tx_queue: int, mtu: int) -> int:
        """Poll one more port (``fast``: its rte_eth_fp_ops element); returns our index of it.

        A queue of -1 means that this worker has none there.
        """
        s = Stack(Ipvs(self.address).stack)
        index = int(s.port_count)
        offsets, _ = shared_offsets()
        at = self.shared + offsets["ports"] + index * ctypes.sizeof(PortStruct)
        ctypes.memset(at, 0, PortStruct.rx_packets.offset)
        p = Port(at)
        p.fast, p.calls = fast, s.calls
        p.mac = int.from_bytes(bytes.fromhex(mac.replace(":", "")), "little")
        p.rx_queue, p.tx_queue, p.index, p.mtu, p.up = rx_queue, tx_queue, index, mtu, 1
        s.ports[index] = at
        s.port_count = index + 1
        return index

    def set_calls(self, pool: int, dequeue: int, free_bulk: int) -> None:
        """Addresses of the mbuf pool and of DPDK's functions in this process."""
        calls = PoolCalls(Stack(Ipvs(self.address).stack).calls)
        calls.pool, calls.dequeue, calls.free_bulk = pool, dequeue, free_bulk
