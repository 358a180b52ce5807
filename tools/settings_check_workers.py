"""Rules of worker_defs: roles, cpus, and the queues of every device."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from runtime.config_report import Origin, Problem, Report
from tools.settings_model import Settings
from tools.settings_net import Device
from tools.settings_workers import MAX_LCORES, Worker


def check_workers(
    settings: Settings, report: Report, whole: Origin, cpus: Collection[int] | None
) -> None:
    """Report what the daemon could not start with; `whole` is the place of the file itself."""
    workers = settings.worker_defs.workers
    report.errors.extend(_roles(workers, whole))
    report.errors.extend(_unknown_cpus(workers, cpus))
    relaxed = settings.global_defs.cpu_isolation == "off"
    for problem, severe in _shared_cpus(workers):
        (report.errors if severe and not relaxed else report.warnings).append(problem)
    devices = settings.devices
    for worker in workers:
        report.errors.extend(_ports(worker, devices))
    serving = [worker for worker in workers if worker.ports]
    for device in devices:
        for direction in ("rx", "tx"):
            report.errors.extend(_queue_ids(serving, device, direction, whole))
            report.warnings.extend(_queue_count(serving, device, direction))
    for worker in workers:
        if worker.type == "kni":
            text = "kni workers are not supported in this release: it stays idle"
            report.warnings.append(_problem(worker, text))
        elif worker.type == "slave" and not worker.ports:
            report.warnings.append(_problem(worker, "serves no port: it stays idle"))


def _problem(worker: Worker, text: str) -> Problem:
    return Problem(worker.origin, f"worker_defs/worker {worker.name}", text)


def _roles(workers: Sequence[Worker], whole: Origin) -> Iterator[Problem]:
    seen: dict[str, Worker] = {}
    for worker in workers:
        if worker.name in seen:
            text = f"the name is used twice (first at {seen[worker.name].origin})"
            yield _problem(worker, text)
        seen.setdefault(worker.name, worker)
    masters = [worker for worker in workers if worker.type == "master"]
    if not masters:
        yield Problem(whole, "worker_defs", "no worker has type master")
    for worker in masters[1:]:
        yield _problem(worker, f"a second master (the first is {masters[0].name})")
    for worker in masters:
        if worker.ports:
            yield _problem(worker, "the master serves no port")
    if not any(worker.type == "slave" and worker.ports for worker in workers):
        yield Problem(whole, "worker_defs", "no worker of type slave serves a port")
    if len(workers) > MAX_LCORES:
        yield Problem(whole, "worker_defs", f"{len(workers)} workers, at most {MAX_LCORES}")


def _unknown_cpus(workers: Sequence[Worker], cpus: Collection[int] | None) -> Iterator[Problem]:
    if cpus is None:
        return
    offered = ", ".join(str(cpu) for cpu in sorted(cpus))
    for worker in workers:
        if worker.cpu_id not in cpus:
            text = f"cpu {worker.cpu_id} is not usable on this host (usable: {offered})"
            yield _problem(worker, text)


def _shared_cpus(workers: Sequence[Worker]) -> Iterator[tuple[Problem, bool]]:
    """Cores on one cpu: (problem, True if both poll). The master may share, at a price."""
    seen: dict[int, Worker] = {}
    for worker in sorted(workers, key=lambda item: item.type == "master"):
        other = seen.setdefault(worker.cpu_id, worker)
        if other is not worker:
            text = f"cpu {worker.cpu_id} is also that of worker {other.name}"
            yield _problem(worker, text), worker.type != "master"


def _ports(worker: Worker, devices: Sequence[Device]) -> Iterator[Problem]:
    names = [device.name for device in devices]
    context = f"worker_defs/worker {worker.name}"
    given = Counter(port.name for port in worker.ports)
    for port in worker.ports:
        here = f"{context}/port {port.name}"
        if port.name not in names:
            usable = ", ".join(names)
            yield Problem(port.origin, here, f"no such device to serve (there are: {usable})")
        elif given[port.name] > 1:
            yield Problem(port.origin, here, "the port stands twice in this worker")
        elif not port.tx_queue_ids:
            yield Problem(port.origin, here, "missing 'tx_queue_ids': every worker must send")
    for name in names if worker.ports else ():
        if name not in given:
            yield _problem(worker, f"missing port {name}: a worker serves all devices or none")


def _ids(workers: Sequence[Worker], device: Device, direction: str) -> Iterator[int]:
    for worker in workers:
        if port := worker.queues(device.name):
            yield from port.rx_queue_ids if direction == "rx" else port.tx_queue_ids


def _queue_ids(
    workers: Sequence[Worker], device: Device, direction: str, whole: Origin
) -> Iterator[Problem]:
    """Queue ids must be 0, 1, ... without gap, each in one worker."""
    owner: dict[int, Worker] = {}
    for worker in workers:
        port = worker.queues(device.name)
        for queue in _ids([worker], device, direction):
            other = owner.setdefault(queue, worker)
            if other is not worker and port is not None:
                text = f"{direction} queue {queue} is already that of worker {other.name}"
                context = f"worker_defs/worker {worker.name}/port {device.name}"
                yield Problem(port.origin, context, text)
    for queue in range(max(owner, default=-1)):
        if queue not in owner:
            text = f"no worker has {direction} queue {queue} of device {device.name}"
            yield Problem(whole, "worker_defs", f"{text}: ids must be contiguous from 0")


def _queue_count(workers: Sequence[Worker], device: Device, direction: str) -> Iterator[Problem]:
    declared = (device.rx if direction == "rx" else device.tx).queue_number
    used = len(set(_ids(workers, device, direction)))
    if declared is not None and used > declared:
        text = f"workers use {used} queues, {direction} queue_number says {declared}"
        yield Problem(device.origin, f"netif_defs/device {device.name}", text)
