"""What the configuration means in DPDK terms: arguments, names, sizes, queues."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from netdev.eal import BASE_ADDRESS
from netdev.portspec import device_arguments, pci_arguments
from tools.settings_model import Settings
from tools.settings_net import Device

POOL = "mbuf_pool_0"
HANDOVER_SLOTS = 2048
CHANNEL_BYTES = 1 << 20
BARRIER = "barrier"  # request to a worker that does nothing: its answer means all before is done


@dataclass(frozen=True)
class PortPlan:
    """One device: our id, its name, and what DPDK calls it."""

    index: int
    name: str
    dpdk_name: str
    arguments: tuple[str, ...]
    rx_queues: int
    tx_queues: int
    device: Device


def connections_zone(worker: int) -> str:
    """Memzone name of a worker's connection table."""
    return f"dpvs_conn_{worker}"


def handover_zone(source: int, target: int) -> str:
    """Memzone name of the ring for packets from one worker to another."""
    return f"dpvs_hand_{source}_{target}"


def shared_purpose(worker: int) -> str:
    """Shared-memory purpose of a worker's counters and context."""
    return f"worker{worker}"


def channel_purpose(worker: int) -> str:
    """Shared-memory purpose of a worker's message rings."""
    return f"channel{worker}"


TEMPLATES = "templates"  # shared-memory purpose of persistence's table


def ports_of(settings: Settings) -> list[PortPlan]:
    """The ports in device order; queue counts are what the workers use."""
    result = []
    for index, device in enumerate(settings.devices):
        rx, tx = 0, 0
        for worker in settings.worker_defs.forwarding:
            queues = worker.queues(device.name)
            if queues is not None:
                rx += len(queues.rx_queue_ids)
                tx += len(queues.tx_queue_ids)
        kind: Any = device.port
        arguments, dpdk_name = device_arguments(index, kind.KIND, asdict(kind))
        plan = PortPlan(
            index, device.name, dpdk_name, tuple(arguments), max(rx, 1), max(tx, 1), device
        )
        result.append(plan)
    return result


def file_prefix(name: str) -> str:
    """EAL file prefix of an instance."""
    return f"dpvs_{name}"


def _devices(ports: list[PortPlan]) -> list[str]:
    words = [word for port in ports for word in port.arguments]
    return [*words, *pci_arguments(words)]


def _common(name: str) -> list[str]:
    return ["--no-telemetry", "--log-level=*:error", f"--file-prefix={file_prefix(name)}"]


def primary_arguments(name: str, settings: Settings, ports: list[PortPlan]) -> list[str]:
    """EAL arguments of the master; it is lcore 0 and never touches a queue."""
    master = settings.worker_defs.master
    cpu = master.cpu_id if master is not None else 0
    words = [f"--lcores=0@{cpu}", "--proc-type=primary", f"--base-virtaddr={BASE_ADDRESS:#x}"]
    if not settings.global_defs.huge:
        words += ["--no-huge", "-m", str(settings.global_defs.memory or 512)]
    return [*_common(name), *words, *_devices(ports)]


def secondary_arguments(
    name: str, settings: Settings, ports: list[PortPlan], worker: int
) -> list[str]:
    """EAL arguments of worker ``worker``: lcore worker + 1 on its cpu.

    Virtual devices are learnt from the primary; PCI devices must be allowed here too.
    """
    cpu = settings.worker_defs.forwarding[worker].cpu_id
    allowed = [word for port in ports for word in port.arguments if port.arguments[0] == "-a"]
    words = [f"--lcores={worker + 1}@{cpu}", "--proc-type=secondary"]
    return [*_common(name), *words, *allowed, *pci_arguments(allowed)]


def embedded_arguments(
    name: str, settings: Settings, ports: list[PortPlan], huge: bool
) -> list[str]:
    """EAL arguments of a process that is master and only worker at once."""
    words = [f"--lcores=0@{max(os.sched_getaffinity(0))}"]
    if huge:
        words += ["--in-memory"]
    else:
        words += ["--no-huge", "--no-shconf", "-m", str(settings.global_defs.memory or 512)]
    return [*_common(name), *words, *_devices(ports)]


def route_limits(settings: Settings) -> dict[int, int]:
    """Routes that the workers' tables hold, by IP version."""
    return {4: settings.ipv4_defs.route_table_size, 6: settings.ipv6_defs.route_table_size}


def parameters(settings: Settings) -> dict[str, Any]:
    """The run-time parameters workers take from the configuration (record param.set)."""
    tcp, udp = settings.ipvs_defs.tcp.timeout, settings.ipvs_defs.udp.timeout
    return {
        "tcp_timeouts": {k: v for k, v in asdict(tcp).items() if isinstance(v, int)},
        "udp_timeouts": {k: v for k, v in asdict(udp).items() if isinstance(v, int)},
        "xmit_ttl": settings.ipvs_defs.conn.xmit_ttl,
        "init_timeout": settings.ipvs_defs.conn.conn_init_timeout,
        "template_quiescent": settings.ipvs_defs.conn.expire_quiescent_template,
        "toa": settings.ipvs_defs.tcp.toa,
        "new_isn": settings.ipvs_defs.tcp.new_isn,
        "uoa_packets": settings.ipvs_defs.udp.uoa_max_trail,
        "uoa_in_ip": settings.ipvs_defs.udp.uoa_mode == "ipo",
        "forwarding": settings.ipv4_defs.forwarding,
        "forwarding6": settings.ipv6_defs.forwarding,
        "disable6": settings.ipv6_defs.disable,
        "neigh_timeout": settings.neigh_defs.timeout,
        "neigh_queue": settings.neigh_defs.unres_queue_length,
    }
