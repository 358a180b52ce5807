"""dpvs doctor on hosts where something is missing: what is said, and the command that mends it."""

import re
from pathlib import Path

import pytest
from doctor_hosts import CARD, HUGE, LIB, conf, find, host, put, settings_with, worst

from tools.doctor import run_checks
from tools.settings_memory import huge_pages

__all__ = ["host"]

# What is broken: files to change (None: remove), the check that says so, status, text, command.
BROKEN: list[tuple[dict[str, str | None], str, str, str, str]] = [
    (
        {f"{LIB}/librte_eal.so.23": None, f"{LIB}/librte_eal.so.25": ""},
        "dpdk",
        "fail",
        rf"found ABI 25 in /{LIB}/librte_eal.so.25, needed is DPDK 22.11 \(ABI 23\)",
        "apt-get install -y librte-meta-bus",
    ),
    (
        {f"{LIB}/dpdk/pmds-23.0/librte_bus_pci.so.23": None},
        "dpdk drivers",
        "fail",
        "missing in /usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0: librte_bus_pci",
        "apt-get install",
    ),
    (
        {f"{HUGE}/free_hugepages": "24"},
        "hugepages",
        "fail",
        r"24 of 1024 pages of 2 MB free, \d+ needed",
        f"sysctl -w vm.nr_hugepages={1024 + huge_pages(conf()) - 24}",
    ),
    (
        {f"{HUGE}/free_hugepages": None, f"{HUGE}/nr_hugepages": "0"},
        "hugepages",
        "fail",
        "0 of 0 pages",
        f"sysctl -w vm.nr_hugepages={huge_pages(conf())}",
    ),
    ({"proc/mounts": "proc /proc proc rw 0 0\n"}, "hugetlbfs", "fail", "not mounted", "mount -t"),
    (
        {"proc/mounts": "none /dev/hugepages hugetlbfs ro 0 0\n"},
        "hugetlbfs",
        "fail",
        "/dev/hugepages is not writable",
        "mount -o remount,rw,mode=1777 /dev/hugepages",
    ),
    (
        {"proc/self/status": "Uid:\t1000\t1000\nCapEff:\t0000000000200000\n"},
        "privileges",
        "fail",
        "lacks CAP_IPC_LOCK$",
        "sudo dpvs doctor",
    ),
    (
        {"proc/self/status": "Uid:\t0\t0\nCapEff:\t00000000a80425fb\n"},
        "privileges",
        "fail",
        "root without CAP_IPC_LOCK, CAP_SYS_ADMIN",
        "docker run --privileged",
    ),
    ({"proc/self/status": "Name: x"}, "privileges", "warn", "cannot be read", ""),
    (
        {"proc/self/status": "Uid:\t1000\nCapEff:\t0000000000200000\n"},
        "locked memory",
        "warn",
        "limited to 8388608 bytes",
        "ulimit -l unlimited",
    ),
    ({"proc/cpuinfo": "flags : avx2"}, "cpu features", "fail", "no SSE 4.2", ""),
    ({"proc/cpuinfo": "flags : sse4_2"}, "cpu features", "warn", "no AVX2", ""),
    ({"proc/cpuinfo": None}, "cpu features", "warn", "cannot be read", ""),
    ({"proc/cpuinfo": "flags : sse4_2 avx2"}, "clock", "warn", "no constant_tsc", ""),
    (
        {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"},
        "clock",
        "warn",
        "the kernel uses hpet",
        "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
    ),
    (
        {"sys/devices/system/cpu/online": "0,2-3"},
        "cpus",
        "fail",
        "cpus 1 are offline",
        "echo 1 > /sys/devices/system/cpu/cpu1/online",
    ),
    (
        {"sys/devices/system/cpu/present": "0", "sys/devices/system/cpu/online": "0"},
        "cpus",
        "fail",
        "uses cpus 1, the host has 0",
        "",
    ),
    (
        {"proc/self/status": "Uid: 0\nCapEff: 1ffffffffff\nCpus_allowed_list: 2-3"},
        "cpus",
        "fail",
        r"may not run on cpus 0-1 \(allowed: 2-3\)",
        "taskset -pc 0-1 $$",
    ),
    (
        {"sys/devices/system/cpu/isolated": ""},
        "cpu isolation",
        "warn",
        "isolcpus lacks cpus 1$",
        "isolcpus=1 nohz_full=1 rcu_nocbs=1",
    ),
    (
        {"sys/devices/system/cpu/nohz_full": "(null)", "usr/sbin/grubby": ""},
        "cpu isolation",
        "warn",
        "nohz_full lacks cpus 1$",
        "grubby --update-kernel=ALL",
    ),
    (
        {f"sys/bus/pci/devices/{CARD}/class": "0x010000"},
        "device dpdk0",
        "fail",
        "is not a network card",
        "",
    ),
    ({"dev/vfio/vfio": None}, "vfio", "fail", "/dev/vfio/vfio is missing", "modprobe vfio-pci"),
    (
        {
            "dev/shm/dpvs_lb1_counters": "",
            "run/dpvs/lb1/ctl.sock": "",
            "dev/hugepages/lb1map_0": "",
        },
        "instance",
        "warn",
        "lb1 does not run but left /run/dpvs/lb1/ctl.sock, /dev/shm/dpvs_lb1_counters, "
        "/dev/hugepages/lb1map_0",
        "rm -rf /run/dpvs/lb1/ctl.sock",
    ),
]


@pytest.mark.parametrize(("files", "name", "status", "text", "fix"), BROKEN)
def test_what_is_broken(
    host: Path, files: dict[str, str | None], name: str, status: str, text: str, fix: str
) -> None:
    for file, content in files.items():
        put(host, file, content)
    check = find(run_checks(conf(), host), name)
    assert check.status == status
    assert re.search(text, check.text)
    assert fix in check.fix
    assert bool(fix) == bool(check.fix)


def test_hugepages_the_daemon_reserves_itself(host: Path) -> None:
    put(host, f"{HUGE}/free_hugepages", "0")
    check = find(run_checks(settings_with("hugepages 1000"), host), "hugepages")
    assert (check.status, "the daemon reserves 1000 at start" in check.text) == ("ok", True)
    put(host, "proc/meminfo", "MemAvailable: 1000 kB\n")
    check = find(run_checks(settings_with("hugepages 1000"), host), "hugepages")
    assert (check.status, "to reserve 1000 pages" in check.text) == ("fail", True)


def test_without_hugepages(host: Path) -> None:
    for name in ("proc/mounts", f"{HUGE}/nr_hugepages", f"{HUGE}/free_hugepages"):
        put(host, name, None)
    assert worst(host, settings_with("huge off")) == []
    put(host, "proc/meminfo", "MemAvailable: 1000 kB\n")
    assert [check.name for check in worst(host, settings_with("huge off"))] == ["memory"]
    (host / HUGE).rmdir()
    assert "no hugepages of 2 MB" in find(run_checks(conf(), host), "hugepages").text


def test_isolation_need_not_be_checked(host: Path) -> None:
    put(host, "sys/devices/system/cpu/isolated", None)
    assert worst(host, settings_with("cpu_isolation off")) == []


def test_isolated_by_a_cgroup(host: Path) -> None:
    put(host, "sys/devices/system/cpu/isolated", "")
    put(host, "sys/fs/cgroup/cpuset.cpus.isolated", "1")
    assert worst(host, conf()) == []
