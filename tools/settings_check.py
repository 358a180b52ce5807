"""Rules that compare blocks of a configuration: devices, bonds and protocol limits."""

from collections.abc import Collection, Hashable, Iterator, Sequence

from runtime.config_report import Origin, Problem, Report
from tools.settings_check_workers import check_workers
from tools.settings_model import Settings
from tools.settings_net import DEVICE_NAME, Bonding, Device
from tools.settings_port import MemifPort, PcapPort, PciPort, TapPort


def check(settings: Settings, report: Report, file: str, cpus: Collection[int] | None) -> None:
    """Report every contradiction between blocks; `cpus` as for `tools.settings.load`."""
    whole = Origin(file, 0)
    netif = settings.netif_defs
    if not netif.devices:
        report.error(whole, "netif_defs", "no device is configured")
        return
    report.errors.extend(_names(netif.devices, netif.bondings))
    report.errors.extend(_shared_resources(netif.devices))
    for bond in netif.bondings:
        report.errors.extend(_bond(bond, netif.devices))
    report.errors.extend(_limits(settings, whole))
    if not settings.devices:
        return  # only broken bonds, reported above
    check_workers(settings, report, whole, cpus)


def _names(devices: Sequence[Device], bonds: Sequence[Bonding]) -> Iterator[Problem]:
    seen: dict[str, Origin] = {}
    named: list[tuple[str, Device | Bonding]] = [("device", device) for device in devices]
    named += [("bonding", bond) for bond in bonds]
    for word, item in named:
        context = f"netif_defs/{word} {item.name}"
        try:
            DEVICE_NAME.parse((item.name,))
        except ValueError as error:
            yield Problem(item.origin, context, str(error))
        if item.name in seen:
            text = f"the name is used twice (first at {seen[item.name]})"
            yield Problem(item.origin, context, text)
        seen.setdefault(item.name, item.origin)


def _shared_resources(devices: Sequence[Device]) -> Iterator[Problem]:
    seen: dict[Hashable, str] = {}
    for device in devices:
        for key, what in _resources(device):
            if key in seen:
                text = f"{what} is already used by device {seen[key]}"
                yield Problem(device.origin, f"netif_defs/device {device.name}", text)
            seen.setdefault(key, device.name)


def _resources(device: Device) -> Iterator[tuple[Hashable, str]]:
    """What only one device can use, and how to name it."""
    port = device.port
    if isinstance(port, PciPort):
        yield ("pci", port.addr), f"card {port.addr}"
    elif isinstance(port, TapPort) and port.iface:
        yield ("tap", port.iface), f"tap interface {port.iface}"
    elif isinstance(port, PcapPort):
        yield ("tx", port.tx), f"capture file {port.tx}"
    elif isinstance(port, MemifPort):
        yield ("memif", port.socket, port.id), f"memif id {port.id} of {port.socket}"


def _bond(bond: Bonding, devices: Sequence[Device]) -> Iterator[Problem]:
    context = f"netif_defs/bonding {bond.name}"
    names = {device.name for device in devices}
    if not bond.slaves:
        yield Problem(bond.origin, context, "missing 'slave'")
    for i, slave in enumerate(bond.slaves):
        if slave not in names:
            yield Problem(bond.origin, context, f"slave {slave} is not a device of netif_defs")
        if slave in bond.slaves[:i]:
            yield Problem(bond.origin, context, f"slave {slave} is named twice")
    if bond.primary and bond.primary not in bond.slaves:
        yield Problem(bond.origin, context, f"primary {bond.primary} is not one of its slaves")


def _limits(settings: Settings, whole: Origin) -> Iterator[Problem]:
    fragment = settings.ipv4_defs.fragment
    room = fragment.bucket_number * fragment.bucket_entries
    if fragment.max_entries > room:
        text = f"max_entries {fragment.max_entries} exceeds bucket_number x bucket_entries = {room}"
        yield Problem(whole, "ipv4_defs/fragment", text)
    ipv6 = settings.ipv6_defs
    if ipv6.addr_gen_mode == "stable-privacy" and ipv6.stable_secret is None:
        yield Problem(whole, "ipv6_defs", "addr_gen_mode stable-privacy needs stable_secret")
