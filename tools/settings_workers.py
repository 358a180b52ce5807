"""worker_defs: which core does what, and which queues it polls."""

# ruff: noqa: RUF009 - the calls declare fields, they make no shared value

from dataclasses import dataclass

from runtime.config_kinds import Choice, Flag, Int, IntList, Words
from runtime.config_report import Origin
from runtime.config_schema import blocks, opt, origin_field
from tools.settings_net import NOT_YET

MAX_LCORES = 64  # the master included


@dataclass(frozen=True)
class WorkerPort:
    """Block port DEVICE of a worker: its queues on that device."""

    name: str = ""
    origin: Origin = origin_field()
    rx_queue_ids: tuple[int, ...] = opt((), IntList(0, 15), "receive queues this worker polls")
    tx_queue_ids: tuple[int, ...] = opt((), IntList(0, 15), "transmit queues of this worker")
    isol_rx_cpu_ids: tuple[str, ...] = opt(
        (), Words("cpu ids"), "cpus that poll the receive queues instead", inert=NOT_YET
    )
    isol_rxq_ring_sz: int = opt(
        1048576, Int(1024, 1 << 31), "ring between such a cpu and the worker", inert=NOT_YET
    )


@dataclass(frozen=True)
class Worker:
    """Block worker NAME: one core."""

    name: str = ""
    origin: Origin = origin_field()
    type: str = opt(
        "slave",
        Choice(("master", "slave", "kni")),
        "master: control, exactly one; slave: forwards packets; kni: not supported, left idle",
        required=True,
    )
    cpu_id: int = opt(0, Int(0, 4095), "the cpu it runs on", required=True)
    idle: str = opt(
        "adaptive",
        Choice(("adaptive", "poll")),
        "adaptive: sleep ever longer while no packet comes (one on a tap ends the sleep); "
        "poll: never sleep",
    )
    idle_sleep_us: int = opt(200, Int(1, 1000000, "us"), "longest sleep of an adaptive worker")
    icmp_redirect_core: bool = opt(
        False, Flag(), "receives the ICMP errors of all workers", inert=NOT_YET
    )
    ports: tuple[WorkerPort, ...] = blocks("port", WorkerPort, "queues of one device")

    def queues(self, device: str) -> WorkerPort | None:
        """The queues of this worker on a device, None if it does not serve it."""
        return next((port for port in self.ports if port.name == device), None)


@dataclass(frozen=True)
class WorkerDefs:
    """Block worker_defs. Empty: one is derived from the devices, see `derive_workers`."""

    workers: tuple[Worker, ...] = blocks("worker", Worker, "one core")

    @property
    def master(self) -> Worker | None:
        """The core that controls."""
        return next((worker for worker in self.workers if worker.type == "master"), None)

    @property
    def forwarding(self) -> tuple[Worker, ...]:
        """Workers that forward packets, by cpu id; index i is lcore i+1 of the tools."""
        found = [worker for worker in self.workers if worker.type == "slave" and worker.ports]
        return tuple(sorted(found, key=lambda worker: worker.cpu_id))
