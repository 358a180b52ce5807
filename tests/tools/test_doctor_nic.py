"""dpvs doctor and network ports: drivers, IOMMU, tap, NUMA, and not cutting off the operator."""

from pathlib import Path

import pytest
from doctor_hosts import CARD, bind, conf, find, host, put

from tools.doctor import run_checks

__all__ = ["host"]


@pytest.mark.parametrize(
    ("driver", "status", "text", "fix"),
    [
        ("vfio-pci", "ok", "bound to vfio-pci", ""),
        ("igb_uio", "ok", "bound to igb_uio", ""),
        ("mlx5_core", "ok", "keeps its kernel driver mlx5_core", ""),
        ("ixgbe", "fail", "kernel driver ixgbe", f"dpdk-devbind.py --bind=vfio-pci {CARD}"),
        (None, "fail", "bound to no driver", f"dpdk-devbind.py --bind=vfio-pci {CARD}"),
    ],
)
def test_binding(host: Path, driver: str | None, status: str, text: str, fix: str) -> None:
    bind(host, driver)
    check = find(run_checks(conf(), host), "device dpdk0")
    assert (check.status, check.fix) == (status, fix)
    assert text in check.text


@pytest.mark.parametrize("where", ["net", "virtio2/net"])
def test_no_command_cuts_off_the_operator(host: Path, where: str) -> None:
    bind(host, "ixgbe")
    put(host, f"sys/bus/pci/devices/{CARD}/{where}/eth0/mtu", "1500")
    check = find(run_checks(conf(), host), "device dpdk0")
    assert (check.status, check.fix) == ("fail", "")
    assert "is the kernel's eth0, which carries routes" in check.text
    put(host, "proc/net/route", "Iface\tDestination\n")
    check = find(run_checks(conf(), host), "device dpdk0")
    assert "kernel driver ixgbe (eth0)" in check.text
    assert check.fix


def test_card_that_is_not_there(host: Path) -> None:
    check = find(run_checks(conf("pci 0000:09:00.0"), host), "device dpdk0")
    assert check.text == f"there is no card 0000:09:00.0 (network cards: {CARD})"


def test_iommu(host: Path) -> None:
    (host / "sys/kernel/iommu_groups/0/type").unlink()
    (host / "sys/kernel/iommu_groups/0").rmdir()
    check = find(run_checks(conf(), host), "vfio")
    assert (check.status, "no IOMMU" in check.text) == ("fail", True)
    put(host, check.fix.split(" > /")[1], "Y\n")
    assert find(run_checks(conf(), host), "vfio").status == "warn"
    bind(host, "mlx5_core")
    assert "vfio" not in [check.name for check in run_checks(conf(), host)]


@pytest.mark.parametrize(
    ("misc", "fix"),
    [
        ("10 vfio\n", "modprobe tun"),
        ("200 tun\n", "mkdir -p /dev/net && mknod /dev/net/tun c 10 200"),
    ],
)
def test_tap(host: Path, misc: str, fix: str) -> None:
    put(host, "dev/net/tun", None)
    put(host, "proc/misc", misc)
    assert find(run_checks(conf("tap"), host), "tap").fix == fix


def test_drivers_of_virtual_devices(host: Path) -> None:
    check = find(run_checks(conf("vdev net_af_packet0,iface=x"), host), "dpdk drivers")
    assert check.text.endswith(": librte_net_af_packet")


def test_numa(host: Path) -> None:
    put(host, f"sys/bus/pci/devices/{CARD}/numa_node", "1")
    for node, cpus in enumerate(("0-1", "2-3")):
        base = f"sys/devices/system/node/node{node}"
        put(host, f"{base}/cpulist", cpus)
        put(host, f"{base}/hugepages/hugepages-2048kB/nr_hugepages", str(512 * node))
    found = [check for check in run_checks(conf(), host) if check.name == "numa"]
    assert [check.text for check in found] == [
        "node 0 runs workers but has no hugepages",
        "dpdk0 is on NUMA node 1 (cpus 2-3), workers on cpus 1 are not: "
        "give them cpus of that node in worker_defs",
    ]
    assert found[0].fix.endswith(
        "> /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"
    )
