"""Checks of network cards: driver, IOMMU, NUMA node, and not cutting off the operator."""

from collections.abc import Iterator

from tools.doctor_host import FAIL, OK, WARN, Check, Host, format_cpus
from tools.settings_model import Settings
from tools.settings_net import Device
from tools.settings_port import PciPort, TapPort

_PCI = "sys/bus/pci/devices"
_USER_SPACE = ("vfio-pci", "uio_pci_generic", "igb_uio")
_BIFURCATED = ("mlx4_core", "mlx5_core", "mana")  # work together with the kernel's driver
_NOIOMMU = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"


def nic_checks(host: Host, settings: Settings) -> Iterator[Check]:
    """Checks of the ports a configuration names."""
    vfio = False
    for device in settings.devices:
        if isinstance(device.port, PciPort):
            driver = host.target(f"{_PCI}/{device.port.addr}/driver")
            yield _bound(host, device, device.port.addr, driver)
            yield from _near(host, settings, device.port.addr, device.name)
            vfio = vfio or driver not in (*_BIFURCATED, *_USER_SPACE[1:])
    if vfio:
        yield _vfio(host)
    if any(isinstance(device.port, TapPort) for device in settings.devices):
        yield _tun(host)


def _bound(host: Host, device: Device, addr: str, driver: str | None) -> Check:
    name = f"device {device.name}"
    if not host.exists(f"{_PCI}/{addr}"):
        cards = [card for card in host.names(_PCI) if _is_network(host, card)]
        text = f"there is no card {addr} (network cards: {', '.join(cards) or 'none'})"
        return Check(name, FAIL, text)
    if not _is_network(host, addr):
        return Check(name, FAIL, f"{addr} is not a network card")
    if driver in _USER_SPACE:
        return Check(name, OK, f"{addr} is bound to {driver}")
    if driver in _BIFURCATED:
        return Check(name, OK, f"{addr} keeps its kernel driver {driver}, as it should")
    fix = f"dpdk-devbind.py --bind=vfio-pci {addr}"
    if driver is None:
        return Check(name, FAIL, f"{addr} is bound to no driver", fix)
    interfaces = [  # those of a virtio card stand one level deeper
        path.rsplit("/", 1)[1]
        for pattern in ("net/*", "virtio*/net/*")
        for path in host.find(f"{_PCI}/{addr}/{pattern}")
    ]
    used = sorted(set(interfaces) & _routed(host))
    if used:
        text = (  # no command here: it could be the operator's own connection
            f"{addr} is the kernel's {used[0]}, which carries routes: name another card, "
            "or move what this host does over it"
        )
        return Check(name, FAIL, text)
    text = f"{addr} is bound to the kernel driver {driver}"
    return Check(name, FAIL, text + (f" ({', '.join(interfaces)})" if interfaces else ""), fix)


def _is_network(host: Host, addr: str) -> bool:
    kind = host.read(f"{_PCI}/{addr}/class")
    return kind is None or kind.startswith("0x02")


def _routed(host: Host) -> set[str]:
    """Interfaces the kernel routes over."""
    rows = (host.read("proc/net/route") or "").splitlines()[1:]
    return {row.split()[0] for row in rows if row.split()}


def _near(host: Host, settings: Settings, addr: str, name: str) -> Iterator[Check]:
    node = host.number(f"{_PCI}/{addr}/numa_node")
    if node is None or node < 0:
        return
    local = host.cpus(f"sys/devices/system/node/node{node}/cpulist")
    far = {worker.cpu_id for worker in settings.worker_defs.forwarding} - local
    if local and far:
        text = (
            f"{name} is on NUMA node {node} (cpus {format_cpus(local)}), "
            f"workers on cpus {format_cpus(far)} are not"
        )
        yield Check("numa", WARN, f"{text}: give them cpus of that node in worker_defs")


def _vfio(host: Host) -> Check:
    if not host.exists("dev/vfio/vfio"):
        return Check("vfio", FAIL, "/dev/vfio/vfio is missing", "modprobe vfio-pci")
    if host.names("sys/kernel/iommu_groups"):
        return Check("vfio", OK, "with IOMMU")
    if host.read(_NOIOMMU) in ("Y", "1"):
        return Check("vfio", WARN, "without IOMMU: a card can reach all memory")
    text = "no IOMMU: switch it on (intel_iommu=on iommu=pt), or do without its protection"
    return Check("vfio", FAIL, text, f"echo 1 > /{_NOIOMMU}")


def _tun(host: Host) -> Check:
    if not host.exists("dev/net/tun"):
        fix = "modprobe tun"
        if "tun" in (host.read("proc/misc") or "").split():
            fix = "mkdir -p /dev/net && mknod /dev/net/tun c 10 200"
        return Check("tap", FAIL, "/dev/net/tun is missing", fix)
    if not host.writable("dev/net/tun"):
        return Check("tap", FAIL, "/dev/net/tun is not writable", "chmod 666 /dev/net/tun")
    return Check("tap", OK, "/dev/net/tun")
