"""Start the configured ports in the master and describe them to workers and operators."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from ipvs.rss import DEFAULT_KEY, RETA_MAX
from netdev import ethdev
from netdev.eal import DpdkError
from netdev.steering import SteeringError, steer
from tools.daemon.job import PortJob
from tools.daemon.plan import PortPlan
from tools.settings_model import Settings
from tools.settings_port import TapPort

NOBODY = 0xFFFF  # in place of a worker: no one polls this queue
_log = logging.getLogger(__name__)


@dataclass
class StartedPort:
    """A running port: what was planned, what DPDK made of it, and its RSS table if known."""

    plan: PortPlan
    number: int
    info: ethdev.PortInfo
    reta: list[int]


def start_one(plan: PortPlan, pool: int) -> StartedPort:
    """Start one port.  Raises DpdkError naming the device."""
    device = plan.device
    config = ethdev.PortConfig(
        rx_queues=plan.rx_queues,
        tx_queues=plan.tx_queues,
        rx_descriptors=device.rx.descriptor_number,
        tx_descriptors=device.tx.descriptor_number,
        mtu=device.mtu,
        promiscuous=device.promisc_mode,
        allmulticast=device.allmulticast,
        rss_types=device.rx.rss,
        rss_key=DEFAULT_KEY,
    )
    try:
        number = ethdev.port_by_name(plan.dpdk_name)
        info = ethdev.start_port(number, config, pool)
    except DpdkError as error:
        raise DpdkError(f"device {plan.name}: {error}") from error
    return StartedPort(plan, number, info, _reta(plan, number, info))


def tap_interface(plan: PortPlan) -> str | None:
    """The kernel's name of a port that is a tap; None for others."""
    port = plan.device.port
    return port.iface or f"dtap{plan.index}" if isinstance(port, TapPort) else None


def _reta(plan: PortPlan, number: int, info: ethdev.PortInfo) -> list[int]:
    if not plan.device.rx.rss_known or plan.rx_queues < 2:
        return []
    interface = tap_interface(plan)
    if interface is not None:
        try:
            return steer(interface, DEFAULT_KEY, plan.rx_queues)
        except SteeringError as error:
            _log.warning("device %s: %s; replies are handed over in software", plan.name, error)
            return []
    if not info.rss_active:
        return []
    size = info.reta_size
    if size & (size - 1) or size > RETA_MAX:
        return []
    try:
        return ethdev.redirection_table(number, size)
    except DpdkError as error:
        _log.warning("device %s: %s; replies are handed over in software", plan.name, error)
        return []


def _owners(settings: Settings, device: str, reta: list[int]) -> list[int]:
    """The indirection table with the worker that polls each queue in the queue's place."""
    owner = {}
    for index, worker in enumerate(settings.worker_defs.forwarding):
        queues = worker.queues(device)
        owner.update(dict.fromkeys(queues.rx_queue_ids if queues else (), index))
    return [owner.get(queue, NOBODY) for queue in reta]


def port_jobs(settings: Settings, ports: list[StartedPort], worker: int) -> list[PortJob]:
    """The ports as worker ``worker`` polls them."""
    jobs = []
    for port in ports:
        queues = settings.worker_defs.forwarding[worker].queues(port.plan.name)
        rx = queues.rx_queue_ids[0] if queues and queues.rx_queue_ids else -1
        tx = queues.tx_queue_ids[0] if queues and queues.tx_queue_ids else -1
        mtu = port.plan.device.mtu
        owners = _owners(settings, port.plan.name, port.reta)
        interface = tap_interface(port.plan) or ""
        jobs.append(PortJob(port.number, port.info.mac, mtu, rx, tx, owners, interface))
    return jobs


def check_queues(settings: Settings) -> None:
    """One rx and one tx queue per worker and port.  Raises DpdkError for more."""
    for worker in settings.worker_defs.forwarding:
        for port in worker.ports:
            if len(port.rx_queue_ids) > 1 or len(port.tx_queue_ids) > 1:
                raise DpdkError(
                    f"worker {worker.name}, port {port.name}: several queues of one port on one "
                    "worker are not supported; give it one rx and one tx queue"
                )


def available_cpus() -> set[int]:
    """Cpus this process may use."""
    return set(os.sched_getaffinity(0))
