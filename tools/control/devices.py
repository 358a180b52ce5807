"""Device table: the ports the daemon has started, by id and by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .errors import Code, ControlError

#: ids are DPDK port numbers, so as many as DPDK has ports
MAX_DEVICES = 64


@dataclass(slots=True)
class Device:
    """One port. `flags` are link flag words (promisc, allmulticast); `mtu` is in bytes."""

    id: int
    name: str
    mac: str
    mtu: int = 1500
    rxq: int = 1
    txq: int = 1
    flags: set[str] = field(default_factory=set)


class DeviceTable:
    """The daemon fills it at start, before any address or route can exist."""

    def __init__(self) -> None:
        self._by_name: dict[str, Device] = {}
        self._by_id: dict[int, Device] = {}

    def add(self, device: Device) -> None:
        """Enter a device; INVAL for an id out of range, EXIST for a taken id or name."""
        if not 0 <= device.id < MAX_DEVICES:
            raise ControlError(
                Code.INVAL, f"device id {device.id} is not one of 0..{MAX_DEVICES - 1}"
            )
        if device.id in self._by_id or device.name in self._by_name:
            raise ControlError(Code.EXIST, f"device {device.name} (id {device.id}) exists already")
        self._by_id[device.id] = device
        self._by_name[device.name] = device

    def named(self, name: str, missing: Code = Code.NODEV) -> Device:
        """The device called `name`, or the error `missing` (the original varies by command)."""
        device = self._by_name.get(name)
        if device is None:
            known = ", ".join(self._by_name) or "none"
            raise ControlError(missing, f"no device is named '{name}' (there are: {known})")
        return device

    def __getitem__(self, dev_id: int) -> Device:
        return self._by_id[dev_id]

    def __contains__(self, dev_id: int) -> bool:
        return dev_id in self._by_id

    def __iter__(self) -> Iterator[Device]:
        return iter(sorted(self._by_id.values(), key=lambda device: device.id))

    def __len__(self) -> int:
        return len(self._by_id)
