"""What a configuration leaves open: cards of devices without `port`, cores without worker_defs."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from runtime.config_report import Origin, Report
from tools.settings_model import Settings
from tools.settings_net import Device
from tools.settings_port import PciPort, pci_address
from tools.settings_workers import Worker, WorkerDefs, WorkerPort


def complete(
    settings: Settings,
    report: Report,
    file: str,
    cpus: Collection[int] | None,
    pci_allow: Sequence[str] = (),
) -> Settings:
    """Return settings with a port for every device and with workers; reports what is missing."""
    allowed = [*_addresses(pci_allow, report, file), *settings.global_defs.pci_allow]
    devices = assign_cards(settings.netif_defs.devices, allowed, report)
    settings = replace(settings, netif_defs=replace(settings.netif_defs, devices=devices))
    if settings.worker_defs.workers or not settings.devices:
        return settings
    shared = settings.global_defs.cpu_isolation == "off"
    try:
        workers = derive_workers(settings.devices, cpus, shared=shared)
    except ValueError as error:
        report.error(Origin(file, 0), "", str(error))
        return settings
    placed = tuple(replace(worker, origin=Origin(file, 0)) for worker in workers.workers)
    return replace(settings, worker_defs=WorkerDefs(placed))


def _addresses(texts: Iterable[str], report: Report, file: str) -> list[str]:
    found = []
    for text in texts:
        try:
            found.append(pci_address(text))
        except ValueError as error:
            report.error(Origin(file, 0), "", f"allowed card: {error}")
    return found


def assign_cards(
    devices: Sequence[Device], allowed: Sequence[str], report: Report
) -> tuple[Device, ...]:
    """Give devices without `port` the allowed cards in order, skipping those named by a port."""
    named = {device.port.addr for device in devices if isinstance(device.port, PciPort)}
    free = iter([addr for addr in dict.fromkeys(allowed) if addr not in named])
    found = []
    for device in devices:
        if device.port is None:
            if addr := next(free, None):
                device = replace(device, port=PciPort(addr))
            else:
                text = "no card left: add a 'port' line, or 'pci_allow ADDRESS' to global_defs"
                report.error(device.origin, f"netif_defs/device {device.name}", text)
        found.append(device)
    return tuple(found)


def derive_workers(
    devices: Sequence[Device], cpus: Collection[int] | None, *, shared: bool = False
) -> WorkerDefs:
    """One master and as many workers as the devices have receive queues (the largest number).

    Worker i polls receive queue i of every device that has one and sends on transmit queue i. The
    master takes the lowest cpu, workers the next ones; if just one cpu is missing, a worker joins
    the master, which is rarely busy. `shared` lets workers use a cpu together. Raises ValueError
    when there are too few cpus.
    """
    count = max([1, *(device.rx.queue_number or 0 for device in devices)])
    usable = sorted(cpus) if cpus is not None else list(range(count + 1))
    if count > len(usable) and not shared:
        raise ValueError(
            f"{count} receive queues need {count} cpus, this host offers {len(usable)}: "
            "write a smaller rx queue_number or a worker_defs block"
        )
    order = [*usable[1:], usable[0]]
    workers = [Worker(name=f"cpu{usable[0]}", type="master", cpu_id=usable[0])]
    for i in range(count):
        cpu = order[i % len(order)]
        ports = tuple(_port(device, i) for device in devices)
        workers.append(Worker(name=f"worker{i + 1}", type="slave", cpu_id=cpu, ports=ports))
    return WorkerDefs(tuple(workers))


def _port(device: Device, queue: int) -> WorkerPort:
    receives = queue < (device.rx.queue_number or 1)
    return WorkerPort(device.name, rx_queue_ids=(queue,) if receives else (), tx_queue_ids=(queue,))
