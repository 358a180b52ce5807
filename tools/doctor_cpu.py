"""Checks of the cpus: instructions, clock, and whether workers have theirs to themselves."""

from collections.abc import Iterator

from tools.doctor_host import FAIL, OK, WARN, Check, Host, format_cpus, parse_cpus
from tools.settings_model import Settings

_CPU = "sys/devices/system/cpu"


def cpu_checks(host: Host, settings: Settings | None) -> Iterator[Check]:
    """All checks of cpus."""
    yield from _features(host)
    yield _clock(host)
    if settings is not None:
        yield from _usable(host, settings)
        yield from _isolated(host, settings)


def _flags(host: Host) -> set[str]:
    return set((host.field("proc/cpuinfo", "flags") or "").split())


def _features(host: Host) -> Iterator[Check]:
    flags = _flags(host)
    if not flags:
        yield Check("cpu features", WARN, "cannot be read from /proc/cpuinfo")
    elif "sse4_2" not in flags:
        text = "no SSE 4.2, which hashing needs (a virtual machine may hide it from its guest)"
        yield Check("cpu features", FAIL, text)
    elif "avx2" not in flags:
        yield Check("cpu features", WARN, "SSE 4.2, but no AVX2: drivers use slower code")
    else:
        yield Check("cpu features", OK, "SSE 4.2, AVX2")


def _clock(host: Host) -> Check:
    flags = _flags(host)
    folder = "sys/devices/system/clocksource/clocksource0"
    source = host.read(f"{folder}/current_clocksource")
    if "constant_tsc" not in flags:
        return Check("clock", WARN, "the cycle counter changes its rate (no constant_tsc)")
    if source not in ("tsc", None):
        usable = "tsc" in (host.read(f"{folder}/available_clocksource") or "").split()
        fix = f"echo tsc > /{folder}/current_clocksource" if usable else ""
        return Check("clock", WARN, f"the kernel uses {source}: reading the time is slow", fix)
    return Check("clock", OK, "constant cycle counter")


def _usable(host: Host, settings: Settings) -> Iterator[Check]:
    workers = settings.worker_defs.workers
    wanted = {worker.cpu_id for worker in workers}
    present, online = host.cpus(f"{_CPU}/present"), host.cpus(f"{_CPU}/online")
    allowed = host.field("proc/self/status", "Cpus_allowed_list")
    if absent := wanted - (present or online or wanted):
        text = f"worker_defs uses cpus {format_cpus(absent)}, the host has {format_cpus(present)}"
        yield Check("cpus", FAIL, text)
    elif offline := wanted - (online or wanted):
        cpu = min(offline)
        text = f"cpus {format_cpus(offline)} are offline"
        yield Check("cpus", FAIL, text, f"echo 1 > /{_CPU}/cpu{cpu}/online")
    elif allowed is not None and (denied := wanted - parse_cpus(allowed)):
        text = f"this process may not run on cpus {format_cpus(denied)} (allowed: {allowed})"
        yield Check("cpus", FAIL, text, f"taskset -pc {format_cpus(wanted)} $$")
    else:
        yield Check("cpus", OK, f"{format_cpus(wanted)} of {format_cpus(online)}")


def _isolated(host: Host, settings: Settings) -> Iterator[Check]:
    """The kernel should schedule nothing else where workers poll, and stop its tick there."""
    if settings.global_defs.cpu_isolation == "off":
        yield Check("cpu isolation", OK, "not checked (global_defs: cpu_isolation off)")
        return
    workers = {worker.cpu_id for worker in settings.worker_defs.forwarding}
    apart = host.cpus(f"{_CPU}/isolated") | host.cpus("sys/fs/cgroup/cpuset.cpus.isolated")
    tickless = host.cpus(f"{_CPU}/nohz_full")
    lacking = [
        (what, workers - cpus)
        for what, cpus in (("isolcpus", apart), ("nohz_full", tickless))
        if workers - cpus
    ]
    if not lacking:
        yield Check("cpu isolation", OK, f"cpus {format_cpus(workers)} are isolated")
        return
    text = ", ".join(f"{what} lacks cpus {format_cpus(cpus)}" for what, cpus in lacking)
    yield Check("cpu isolation", WARN, text, _kernel_arguments(host, workers))


def _kernel_arguments(host: Host, cpus: set[int]) -> str:
    shown = format_cpus(cpus)
    words = f"isolcpus={shown} nohz_full={shown} rcu_nocbs={shown}"
    if host.exists("usr/sbin/grubby"):
        return f"grubby --update-kernel=ALL --args='{words}'  # then reboot"
    line = f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {words}"'
    return f"echo '{line}' > /etc/default/grub.d/dpvs.cfg && update-grub  # then reboot"
