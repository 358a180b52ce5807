"""Master and one worker in a single process: for files, benchmarks, and drivers that poll only
in the process that made them (net_pcap infinite_rx, net_af_xdp)."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

from ipvs import table, templates
from ipvs.apply import Applier
from ipvs.context import Ipvs
from ipvs.loop import run
from ipvs.rss import DEFAULT_KEY
from ipvs.worker import Memory, shared_offsets
from netdev import eal, ethdev
from tools.control.context import Context
from tools.control.devices import Device
from tools.control.dispatch import Dispatcher
from tools.control.errors import Code, ControlError
from tools.control.inprocess import InProcessTransport
from tools.control.providers import ConnectionPage, Lcore, NeighbourRow
from tools.control.state import ControlState
from tools.daemon import link_local, listing, plan, template_list
from tools.daemon.build import build
from tools.daemon.commands import run_line
from tools.daemon.counters import SharedCounters
from tools.daemon.job import PortJob, WorkerJob
from tools.daemon.ports import StartedPort, start_one
from tools.daemon.scheduler_build import compile_here
from tools.settings_model import Settings


class Embedded:
    """A balancer inside this process, without hugepages unless ``huge``.

    Raises DpdkError when DPDK or a device does not start.  One per process: EAL starts once.
    """

    def __init__(
        self,
        settings: Settings,
        ports: Sequence[plan.PortPlan] | None = None,
        name: str = "embedded",
        huge: bool = False,
    ) -> None:
        self.name, self.settings = name, settings
        self.plans = list(ports if ports is not None else plan.ports_of(settings))
        arguments = plan.embedded_arguments(name, settings, self.plans, huge)
        eal.start(arguments)
        conf = settings.ipvs_defs.conn
        capacity = conf.connections_per_worker
        self.pool = eal.pool_create(plan.POOL, settings.netif_defs.pktpool_size, 256)
        eal.memzone_reserve(plan.connections_zone(0), table.table_bytes(capacity))
        self.started: list[StartedPort] = [start_one(p, self.pool) for p in self.plans]
        self.memory = Memory()
        self.shared = self.memory.take(shared_offsets()[1])
        self.template_table = self.memory.take(templates.templates_bytes(conf.template_table_size))
        templates.initialise(self.template_table, conf.template_table_size)
        self.applier = self._applier(capacity)
        self.address = self.applier.worker.address
        self.counters = SharedCounters(
            [self.shared], {p.plan.index: (p.plan, p.number, p.info) for p in self.started},
            self.pool,
        )  # fmt: skip
        self.state = ControlState(self, self.counters)
        self.state.inet.routes.most = plan.route_limits(settings)
        for port in self.started:
            row = Device(port.plan.index, port.plan.name, port.info.mac, port.plan.device.mtu)
            self.state.inet.add_device(row)
        self.state.set_params(plan.parameters(settings))
        link_local.give(self.state, settings.ipv6_defs)
        context = Context(self.state, self.counters, self, self, self)
        self.transport = InProcessTransport(Dispatcher(context))

    def _applier(self, capacity: int) -> Applier:
        jobs = [PortJob(p.number, p.info.mac, p.plan.device.mtu, 0, 0) for p in self.started]
        replicas = 1 << (self.settings.sa_pool.pool_hash_size.bit_length() - 1)
        job = WorkerJob(
            self.name, 0, 1, [], jobs, capacity, replicas, 0, DEFAULT_KEY.hex(),
            routes=self.settings.ipv4_defs.route_table_size,
            routes6=self.settings.ipv6_defs.route_table_size,
        )  # fmt: skip
        return build(job, self.shared, self.template_table)

    # Publisher, FleetOps, LinkOps, DaemonOps of the control plane

    def publish(self, kind: str, body: dict[str, Any]) -> None:
        """Apply a record to the only worker."""
        self.applier.apply(kind, body)

    async def connections(
        self, cursor: int, limit: int, match: Mapping[str, Any] | None
    ) -> ConnectionPage:
        """A page of the connection list."""
        wanted = dict(match) if match else None
        page = listing.connections(self.address, cursor, limit, wanted)
        return ConnectionPage(page["conns"], page["cursor"])

    async def templates(
        self, cursor: int, limit: int, match: Mapping[str, Any] | None
    ) -> ConnectionPage:
        """A page of the templates of persistence."""
        wanted = dict(match) if match else None
        page = template_list.templates(self.address, cursor, limit, wanted)
        return ConnectionPage(page["conns"], page["cursor"])

    async def neighbours(self) -> Sequence[NeighbourRow]:
        """Neighbours of the worker."""
        rows = listing.neighbours(self.address)
        return [
            NeighbourRow(1, r["addr"], r["mac"], r["dev"], r["state"], r["static"]) for r in rows
        ]

    def set_link(self, dev_id: int, item: str, value: str) -> None:
        """Links of an embedded balancer are fixed."""
        raise ControlError(Code.NOTSUPP, "link settings cannot be changed here")

    @property
    def lcores(self) -> Sequence[Lcore]:
        """The one core."""
        return [Lcore(0, 0, 0, "master"), Lcore(1, 0, 0, "worker")]

    def status(self) -> Mapping[str, Any]:
        """Sizes of the tables."""
        return {"name": self.name, "tables": self.state.summary(), "workers": []}

    def stop(self) -> None:
        """Nothing to stop from outside."""

    async def compile_scheduler(self, source: str) -> tuple[bytes, int, tuple[int, ...]]:
        """Machine code of a user-written scheduler; ControlError tells a mistake in it."""
        result = compile_here(source)
        if isinstance(result, str):
            raise ControlError(Code.INVAL, result)
        code, entry, fixups = result
        return code, entry, tuple(fixups)

    # Use

    def command(self, line: str, where: object = "command") -> str:
        """Run a dpip or ipvsadm command line; its output.  Raises CommandFailed."""
        return run_line(line, where, self.transport)

    def commands(self) -> None:
        """Run the configuration's ``commands`` block.  Raises CommandFailed."""
        for line in self.settings.commands:
            self.command(line.text, line.origin)

    def poll(self, iterations: int) -> int:
        """Run the worker loop for so many iterations; returns packets received in them."""
        w = Ipvs(self.address)
        before = self.received()
        left = iterations
        while left > 0:
            run(self.address, min(left, 1 << 30))
            left -= 1 << 30
        assert w.worker == 0
        return self.received() - before

    def received(self) -> int:
        """Packets received so far on all ports."""
        return self.counters.cpu_counters(1)["ipackets"]

    def close(self) -> None:
        """Stop the ports (capture files are complete then) and release DPDK."""
        for port in self.started:
            ethdev.stop_port(port.number)
        eal.cleanup()
        eal.remove_files(plan.file_prefix(self.name))
        ctypes.memset(self.address, 0, 8)
