"""Hosts made of files for the tests of dpvs doctor."""

from pathlib import Path

import pytest

from tools.doctor import run_checks
from tools.doctor_host import Check
from tools.settings import Settings, loads

CARD = "0000:01:00.0"
LIB = "usr/lib/x86_64-linux-gnu"
HUGE = "sys/kernel/mm/hugepages/hugepages-2048kB"
FILES = {
    f"{LIB}/librte_eal.so.23": "",
    f"{LIB}/librte_eal.so.23.0": "",
    f"{LIB}/dpdk/pmds-23.0/librte_bus_pci.so.23": "",
    f"{LIB}/dpdk/pmds-23.0/librte_mempool_ring.so.23": "",
    f"{LIB}/dpdk/pmds-23.0/librte_net_tap.so.23": "",
    f"{HUGE}/nr_hugepages": "1024\n",
    f"{HUGE}/free_hugepages": "1024\n",
    "proc/mounts": "none /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n",
    "dev/hugepages/.keep": "",
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable:    4000000 kB\n",
    "proc/cpuinfo": "processor : 0\nflags\t\t: fpu sse4_2 avx2 constant_tsc\n",
    "proc/self/status": "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-3\n",
    "proc/self/limits": "Max locked memory    8388608    8388608    bytes\n",
    "proc/net/route": "Iface\tDestination\neth0\t00000000\n",
    "sys/devices/system/cpu/online": "0-3\n",
    "sys/devices/system/cpu/present": "0-3\n",
    "sys/devices/system/cpu/isolated": "1-3\n",
    "sys/devices/system/cpu/nohz_full": "1-3\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
    "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet\n",
    f"sys/bus/pci/devices/{CARD}/class": "0x020000\n",
    f"sys/bus/pci/devices/{CARD}/numa_node": "-1\n",
    "sys/kernel/iommu_groups/0/type": "DMA\n",
    "dev/vfio/vfio": "",
    "dev/net/tun": "",
}
CONFIG = """\
global_defs {
    name lb1
}
netif_defs {
    device dpdk0 {
        port PORT
    }
}
EXTRA
"""


def conf(port: str = f"pci {CARD}", extra: str = "") -> Settings:
    text = CONFIG.replace("PORT", port).replace("EXTRA", extra)
    return loads(text, cpus=range(4)).settings


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host that is ready for the configuration above."""
    monkeypatch.delenv("DPVS_NAME", raising=False)
    for name, text in FILES.items():
        put(tmp_path, name, text)
    bind(tmp_path, "vfio-pci")
    return tmp_path


def put(host: Path, name: str, text: str | None) -> None:
    path = host / name
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def bind(host: Path, driver: str | None) -> None:
    link = host / f"sys/bus/pci/devices/{CARD}/driver"
    link.unlink(missing_ok=True)
    if driver:
        link.symlink_to(f"../../../../bus/pci/drivers/{driver}")


def find(checks: list[Check], name: str) -> Check:
    found = [check for check in checks if check.name == name]
    assert len(found) == 1, f"{name}: {[check.name for check in checks]}"
    return found[0]


def worst(host: Path, settings: Settings | None = None) -> list[Check]:
    return [check for check in run_checks(settings, host) if check.status != "ok"]


def settings_with(line: str) -> Settings:
    return conf(extra=f"global_defs {{\n {line}\n}}")
