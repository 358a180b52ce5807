"""Checks of hugepages, their file system, ordinary memory and locked memory."""

from collections.abc import Iterator

from tools.doctor_host import FAIL, OK, WARN, Check, Host
from tools.settings_memory import PAGE, huge_bytes, huge_pages
from tools.settings_model import Settings

_POOLS = {
    "sys/kernel/mm/hugepages/hugepages-2048kB": 1,
    "sys/kernel/mm/hugepages/hugepages-1048576kB": 512,
}
CAP_IPC_LOCK = 1 << 14  # capabilities(7)
USUAL_PAGES = 256  # asked for when there is no configuration to compute from


def memory_checks(host: Host, settings: Settings | None, *, running: bool) -> Iterator[Check]:
    """All checks of memory; `running`: the pages in use may be those of our own daemon."""
    if settings is not None and not settings.global_defs.huge:
        yield Check("hugepages", OK, "not used (global_defs: huge off)")
        yield from _ordinary(host, huge_bytes(settings))
        return
    yield _pages(host, settings, running)
    yield _mounted(host)
    yield from _nodes(host, settings)
    yield from _locked(host)


def _pages(host: Host, settings: Settings | None, running: bool) -> Check:
    total = sum((host.number(f"{pool}/nr_hugepages") or 0) * n for pool, n in _POOLS.items())
    free = sum((host.number(f"{pool}/free_hugepages") or 0) * n for pool, n in _POOLS.items())
    nodes = max(1, len(_node_ids(host)))
    needed = USUAL_PAGES if settings is None else huge_pages(settings, nodes)
    text = f"{free} of {total} pages of 2 MB free, {needed} needed"
    if not any(host.exists(pool) for pool in _POOLS):
        text = "the kernel has no hugepages of 2 MB: use global_defs { huge off }"
        return Check("hugepages", FAIL, text)
    if free >= needed:
        return Check("hugepages", OK, text)
    if running:
        return Check("hugepages", OK, f"{text}; the daemon is running")
    small = host.number("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages") or 0
    fix = f"sysctl -w vm.nr_hugepages={small + needed - free}"
    asked = settings.global_defs.hugepages if settings else 0
    if asked > free:
        available = _available(host)
        if available is not None and available < (asked - free) * PAGE:
            room = f"{available >> 20} MB of memory are available to reserve {asked - free} pages"
            return Check("hugepages", FAIL, f"{text}; only {room}")
        if asked >= needed:
            return Check("hugepages", OK, f"{text}; the daemon reserves {asked} at start")
    return Check("hugepages", WARN if settings is None else FAIL, text, fix)


def _mounted(host: Host) -> Check:
    for line in (host.read("proc/mounts") or "").splitlines():
        words = line.split()
        if len(words) >= 4 and words[2] == "hugetlbfs":
            point = words[1].lstrip("/")
            if "ro" in words[3].split(",") or not host.writable(point):
                fix = f"mount -o remount,rw,mode=1777 {words[1]}"
                return Check("hugetlbfs", FAIL, f"{words[1]} is not writable", fix)
            return Check("hugetlbfs", OK, f"mounted on {words[1]}")
    fix = "mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages"
    return Check("hugetlbfs", FAIL, "not mounted", fix)


def _node_ids(host: Host) -> list[int]:
    names = host.names("sys/devices/system/node")
    return sorted(int(name[4:]) for name in names if name.startswith("node") and name[4:].isdigit())


def _nodes(host: Host, settings: Settings | None) -> Iterator[Check]:
    """Every NUMA node with a worker needs pages of its own."""
    nodes = _node_ids(host)
    if settings is None or len(nodes) < 2:
        return
    cpus = {worker.cpu_id for worker in settings.worker_defs.forwarding}
    for node in nodes:
        base = f"sys/devices/system/node/node{node}"
        used = cpus & host.cpus(f"{base}/cpulist")
        pages = host.number(f"{base}/hugepages/hugepages-2048kB/nr_hugepages")
        if used and pages == 0:
            wanted = huge_pages(settings) // len(nodes) + 1
            file = f"/{base}/hugepages/hugepages-2048kB/nr_hugepages"
            text = f"node {node} runs workers but has no hugepages"
            yield Check("numa", WARN, text, f"echo {wanted} > {file}")


def _available(host: Host) -> int | None:
    words = (host.field("proc/meminfo", "MemAvailable") or "").split()
    return int(words[0]) << 10 if words and words[0].isdecimal() else None


def _ordinary(host: Host, needed: int) -> Iterator[Check]:
    available = _available(host)
    if available is not None:
        text = f"{available >> 20} MB available, {needed >> 20} MB needed"
        yield Check("memory", OK if available >= needed else FAIL, text)


def _locked(host: Host) -> Iterator[Check]:
    """Without CAP_IPC_LOCK the limit of locked memory decides what a card may reach."""
    for line in (host.read("proc/self/limits") or "").splitlines():
        if line.startswith("Max locked memory"):
            soft = line.split()[3]
            if soft == "unlimited" or (host.capabilities() or 0) & CAP_IPC_LOCK:
                yield Check("locked memory", OK, "not limited")
            else:
                text = f"limited to {soft} bytes"
                yield Check("locked memory", WARN, text, "ulimit -l unlimited")
