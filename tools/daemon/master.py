"""The master process: ports, authoritative state, control socket, workers.

Started by ``dpvs start`` (``python -m tools.daemon.master``).  Tells its progress on a pipe as
lines ``progress TEXT``, then ``ready`` or ``failed TEXT``.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ipvs import templates
from ipvs.rss import DEFAULT_KEY
from ipvs.worker import shared_offsets
from netdev import eal, ethdev, tap
from runtime.log import Log
from runtime.messages import Channel, MasterPort, MessageError, channel_bytes
from runtime.shm import Segment
from runtime.supervise import Supervisor
from runtime.supervise_process import WorkerSpec
from runtime.supervise_worker import UP, Policy
from tools import client
from tools.control.context import Context
from tools.control.devices import Device
from tools.control.dispatch import Dispatcher
from tools.control.errors import Code, ControlError
from tools.control.providers import Lcore
from tools.control.server import ControlServer
from tools.control.state import ControlState
from tools.daemon import build, link_local, plan
from tools.daemon.announcer import Announcer
from tools.daemon.commands import run_commands
from tools.daemon.counters import SharedCounters
from tools.daemon.fleet import Fleet
from tools.daemon.groups import Groups
from tools.daemon.job import WorkerJob
from tools.daemon.ports import StartedPort, port_jobs, start_one
from tools.daemon.reload import reload
from tools.daemon.scheduler_build import Compiled, compile_apart
from tools.settings_model import Settings

_log = logging.getLogger(__name__)
Progress = Callable[[str], None]
APPLY_SECONDS = 5.0  # longest wait of an operator's command for a worker that is busy


class Master:
    """One running instance.  ``open`` builds it, ``serve`` runs it, ``close`` undoes it all."""

    def __init__(
        self, name: str, settings: Settings, config: str, log: Log, progress: Progress
    ) -> None:
        self.name, self.settings, self.config = name, settings, config
        self._log_sink = log
        self._progress = progress
        self.count = len(settings.worker_defs.forwarding)
        self.ports: list[StartedPort] = []
        self.segments: list[Segment] = []
        self.started = time.time()
        self.published = 0
        self._stop = asyncio.Event()
        self._messages = MasterPort()
        self._groups = Groups(self._join_groups)
        self._announcer = Announcer(self._messages.cast_all, self._link_is_up)

    # -- building up ---------------------------------------------------------------------------

    def open_dpdk(self) -> None:
        """EAL, pool, memory, ports.  Raises DpdkError."""
        from netdev.verify import verify_pool

        ports = plan.ports_of(self.settings)
        self._progress("starting DPDK")
        eal.start(plan.primary_arguments(self.name, self.settings, ports))
        size = self.settings.netif_defs.pktpool_size
        self.pool = eal.pool_create(plan.POOL, size, self.settings.netif_defs.pktpool_cache)
        verify_pool(self.pool, size)
        build.reserve(self.count, self.settings.ipvs_defs.conn.connections_per_worker)
        for port in ports:
            self._progress(f"starting device {port.name} ({port.dpdk_name})")
            self.ports.append(start_one(port, self.pool))
        tap.no_signals()

    def open_state(self) -> None:
        """Shared segments, authoritative state, request handling."""
        _, size = shared_offsets()
        for index in range(self.count):
            shared = Segment.create(self.name, plan.shared_purpose(index), size)
            rings = Segment.create(
                self.name, plan.channel_purpose(index), channel_bytes(plan.CHANNEL_BYTES)
            )
            self.segments += [shared, rings]
            channel = Channel.create(rings.address, plan.CHANNEL_BYTES, rings)
            self._messages.add_worker(index, channel)
        blocks = [segment.address for segment in self.segments[::2]]
        capacity = self.settings.ipvs_defs.conn.template_table_size
        shared = Segment.create(self.name, plan.TEMPLATES, templates.templates_bytes(capacity))
        templates.initialise(shared.address, capacity)
        self.segments.append(shared)
        self.counters = SharedCounters(
            blocks, {p.plan.index: (p.plan, p.number, p.info) for p in self.ports}, self.pool
        )
        self.state = ControlState(self, self.counters)
        self.state.inet.routes.most = plan.route_limits(self.settings)
        for port in self.ports:
            device = port.plan.device
            flags = {"promisc"} if device.promisc_mode else set()
            row = Device(
                port.plan.index, port.plan.name, port.info.mac, device.mtu,
                port.plan.rx_queues, port.plan.tx_queues,
                flags | ({"allmulticast"} if device.allmulticast else set()),
            )  # fmt: skip
            self.state.inet.add_device(row)
        self.state.set_params(plan.parameters(self.settings))
        link_local.give(self.state, self.settings.ipv6_defs)
        fleet = Fleet(self._messages, self.count)
        context = Context(self.state, self.counters, fleet, self, self)
        self.dispatcher = Dispatcher(context)
        self.server = ControlServer(self, client.socket_path(self.name))
        self._messages.on_event("neigh.learnt", self._neighbour_learnt)
        self._messages.on_event("addr.conflict", self._address_conflict)
        self._messages.on_event("addr.duplicate", self._address_duplicate)
        self._messages.on_event("mld.querier", self._querier_heard)
        self._messages.on_event("resync", self._resync)
        self._messages.on_lagging = lambda worker, reason: self._resync(worker, reason)
        self._messages.on_broken = lambda worker, reason: self.supervisor.kill(worker, reason)
        self._messages.on_event(
            "error", lambda worker, body: _log.error("worker %d: %s", worker + 1, body)
        )

    def _job(self, index: int) -> WorkerJob:
        worker = self.settings.worker_defs.forwarding[index]
        ports = plan.ports_of(self.settings)
        replicas = 1 << (self.settings.sa_pool.pool_hash_size.bit_length() - 1)
        return WorkerJob(
            name=self.name,
            index=index,
            count=self.count,
            eal=plan.secondary_arguments(self.name, self.settings, ports, index),
            ports=port_jobs(self.settings, self.ports, index),
            capacity=self.settings.ipvs_defs.conn.connections_per_worker,
            replicas=replicas,
            idle_sleep_us=worker.idle_sleep_us if worker.idle == "adaptive" else 0,
            rss_key=DEFAULT_KEY.hex(),
            worker_cpus=[one.cpu_id for one in self.settings.worker_defs.forwarding],
            routes=self.settings.ipv4_defs.route_table_size,
            routes6=self.settings.ipv6_defs.route_table_size,
            log_level=self.settings.global_defs.log_level,
            log_file=self.settings.global_defs.log_file,
        )

    async def open_workers(self) -> None:
        """Start the worker processes and wait until all forward.  Raises WorkerNotReady."""
        self._progress(f"starting {self.count} worker(s)")
        self.supervisor = Supervisor(
            self.name, self.count, Policy(ready_timeout=120.0), self._worker_up, self._worker_down
        )
        for index in range(self.count):
            cpu = self.settings.worker_defs.forwarding[index].cpu_id
            self.supervisor.start(
                WorkerSpec(
                    index=index,
                    module="tools.daemon.worker",
                    arguments=(self._job(index).to_text(),),
                    environment={"NUMBA_DISABLE_JIT": "0"},
                    cpu=cpu,
                )
            )
        await self.supervisor.wait_up(timeout=120.0)

    # -- replication ---------------------------------------------------------------------------

    def publish(self, kind: str, body: dict[str, Any]) -> None:
        """Publisher of the control plane: every worker gets the record, in order."""
        self.published += 1
        self._messages.cast_all(kind, body)
        self._groups.heard(kind, body)
        self._announcer.heard(kind, body)

    def _join_groups(self, dev: int, macs: Iterable[str]) -> None:
        ethdev.set_multicast(self.ports[dev].number, macs)

    def _link_is_up(self, dev: int) -> bool:
        return ethdev.link(self.ports[dev].number)[0]

    async def answer(self, request: Mapping[Any, Any]) -> dict[str, Any]:
        """Answer an operator's request once what it changed is in force in every worker."""
        before = self.published
        reply = await self.dispatcher.answer(request)
        if self.published != before:
            await self._applied(APPLY_SECONDS)
        return reply

    async def _applied(self, seconds: float) -> bool:
        """Wait until the workers that are up have applied all records; False if they did not.

        One that is being replaced is not waited for: it starts with a snapshot.
        """
        up = [row["index"] for row in self.supervisor.status() if row["state"] == UP]
        replies = await self._messages.multicast_request(plan.BARRIER, None, seconds, up)
        return not any(isinstance(reply, MessageError) for reply in replies.values())

    def _worker_up(self, index: int, pid: int) -> None:
        _log.info("worker %d is up (pid %d)", index + 1, pid)

    def _worker_down(self, index: int, reason: str) -> None:
        level = logging.INFO if self.supervisor.ended_well(index) else logging.ERROR
        _log.log(level, "worker %d is down: %s", index + 1, reason)
        self._messages.worker_down(index, reason)
        # Waits in the emptied ring for the next process of this worker.
        self._messages.reset(index, self.state.snapshot())

    def _resync(self, worker: int, body: Any) -> None:
        self._messages.reset(worker, self.state.snapshot())

    def _neighbour_learnt(self, worker: int, body: Mapping[str, Any]) -> None:
        address = ipaddress.ip_address(body["addr"])
        self.state.inet.learn_neighbour(body["dev"], address, body["mac"])

    def _address_conflict(self, worker: int, body: Mapping[str, Any]) -> None:
        _log.error("address conflict: %s is also used by %s", body["addr"], body["mac"])

    def _address_duplicate(self, worker: int, body: Mapping[str, Any]) -> None:
        address = ipaddress.ip_address(body["addr"])
        _log.error("address %s is not used: %s has it already", address, body["mac"])
        self.state.inet.found_duplicate(body["dev"], address)

    def _querier_heard(self, worker: int, body: Mapping[str, Any]) -> None:
        self._messages.cast_all("mld.querier", dict(body))

    # -- what operators ask of the daemon itself -----------------------------------------------

    @property
    def lcores(self) -> Sequence[Lcore]:
        """Master first, then workers by cid, with their queues."""
        master = self.settings.worker_defs.master
        rows = [Lcore(0, master.cpu_id if master else 0, 0, "master")]
        for index, worker in enumerate(self.settings.worker_defs.forwarding):
            cells = []
            for port in worker.ports:
                cells += [f"{port.name}:rx{q}" for q in port.rx_queue_ids]
                cells += [f"{port.name}:tx{q}" for q in port.tx_queue_ids]
            rows.append(Lcore(index + 1, worker.cpu_id, 0, "worker", cells))
        return rows

    def status(self) -> Mapping[str, Any]:
        """State of master and workers for `dpvs status`."""
        channels = self._messages.status()
        workers = []
        for row in self.supervisor.status():
            index = row["index"]
            stats = self.counters.cpu_counters(index + 1)
            workers.append({**row, "cid": index + 1, "channel": channels.get(index), **stats})
        return {
            "name": self.name,
            "pid": os.getpid(),
            "uptime": int(time.time() - self.started),
            "dpdk": eal.abi().release,
            "tables": self.state.summary(),
            "workers": workers,
        }

    async def compile_scheduler(self, source: str) -> Compiled:
        """Machine code of a user-written scheduler; ControlError tells a mistake in it."""
        return await compile_apart(source)

    def stop(self) -> None:
        """Ask for a clean stop."""
        self._stop.set()

    def reload(self) -> None:
        """Read the configuration again; what may change at run time does."""
        self.settings = reload(
            self.config, self.settings, self.state.set_configured, self._log_sink.configure
        )

    def set_link(self, dev_id: int, item: str, value: str) -> None:
        """Apply one link setting; ControlError when the device refuses."""
        number = self.ports[dev_id].number
        switches = {
            ("promisc", "on"): "rte_eth_promiscuous_enable",
            ("promisc", "off"): "rte_eth_promiscuous_disable",
            ("allmulticast", "on"): "rte_eth_allmulticast_enable",
            ("allmulticast", "off"): "rte_eth_allmulticast_disable",
            ("link", "up"): "rte_eth_dev_set_link_up",
            ("link", "down"): "rte_eth_dev_set_link_down",
        }
        name = switches.get((item, value))
        if name is None:
            raise ControlError(Code.NOTSUPP, f"link setting {item} {value} is not supported")
        result = getattr(eal.cdll("ethdev"), name)(number)
        if result < 0:
            raise ControlError(
                Code.DPDKAPIFAIL,
                f"{self.ports[dev_id].plan.name}: {item} {value}: {os.strerror(-result)}",
            )

    # -- running and ending --------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.state.tick()
            self._announcer.tick()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Run until asked to stop by the control socket or a signal."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        tasks = [asyncio.create_task(self._messages.run()), asyncio.create_task(self._tick())]
        try:
            await self.open_workers()
            await self.server.start()
            await run_commands(self.settings.commands, self, self._progress)
            if not await self._applied(APPLY_SECONDS):
                _log.warning("workers are still applying the configuration")
            ready()
            await self._stop.wait()
        finally:
            await self._end(tasks)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.server.close()
        if hasattr(self, "supervisor"):
            try:
                await self.supervisor.close()
            except MessageError as error:
                _log.error("%s", error)

    def close(self) -> None:
        """Undo ``open_*``: ports, segments, DPDK's files.  Never raises."""
        for port in self.ports:
            ethdev.stop_port(port.number)
        for segment in self.segments:
            segment.unlink()
        eal.cleanup()
        eal.remove_files(plan.file_prefix(self.name))
