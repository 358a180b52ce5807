"""Interface addresses: which addresses this host owns, on which device, for how long."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import Code, ControlError
from .inettypes import SCOPE_NUMBERS, Address, common_bits, network_of


@dataclass(slots=True)
class InterfaceAddress:
    """An address on a device. `sapool` makes its ports usable as local ports of connections.

    `auto` marks the link-local address the daemon made; `duplicate` one that another host has: it
    stays in the table, but is not used. `expires` is a clock reading in seconds, None for a
    permanent address. The preferred lifetime always equals the valid one, as in the original.
    """

    address: Address
    plen: int
    dev: int
    broadcast: Address | None = None
    scope: int = SCOPE_NUMBERS["global"]
    expires: float | None = None
    sapool: bool = False
    auto: bool = False
    duplicate: bool = False

    @property
    def network(self) -> Address:
        """The connected network's address."""
        return network_of(self.address, self.plen)

    def covers(self, address: Address) -> bool:
        """Whether `address` lies in the connected network."""
        same = address.version == self.address.version
        return same and network_of(address, self.plen) == self.network

    def remaining(self, now: float) -> int:
        """Seconds left, rounded up and at least 1; 0 means for ever."""
        return 0 if self.expires is None else max(1, math.ceil(self.expires - now))


def best_source(usable: list[InterfaceAddress], target: Address) -> Address | None:
    """The one of these addresses to talk to `target` from, see `AddressTable.select_source`."""
    if target.version == 6:
        usable = [e for e in usable if e.address.is_link_local == target.is_link_local]
        if len(usable) > 1:
            usable = sorted(usable, key=lambda e: common_bits(e.address, target))
    else:
        usable = [entry for entry in usable if entry.covers(target)] or usable
    return usable[-1].address if usable else None


class AddressTable:
    """All interface addresses by device, each device's in the order they were added."""

    def __init__(self) -> None:
        self._by_dev: dict[int, dict[tuple[Address, int], InterfaceAddress]] = {}
        self._devices_of: dict[Address, dict[int, int]] = {}

    def check_absent(self, entry: InterfaceAddress) -> None:
        """EXIST when the device already has this address with this prefix length."""
        if (entry.address, entry.plen) in self._by_dev.get(entry.dev, {}):
            raise ControlError(
                Code.EXIST, f"{entry.address}/{entry.plen} is already configured on the device"
            )

    def add(self, entry: InterfaceAddress) -> None:
        """Enter an address that `check_absent` has passed."""
        self._by_dev.setdefault(entry.dev, {})[entry.address, entry.plen] = entry
        users = self._devices_of.setdefault(entry.address, {})
        users[entry.dev] = users.get(entry.dev, 0) + 1

    def get(self, dev: int, address: Address, plen: int) -> InterfaceAddress:
        """The entry, or NOTEXIST."""
        entry = self._by_dev.get(dev, {}).get((address, plen))
        if entry is None:
            raise ControlError(Code.NOTEXIST, f"{address}/{plen} is not configured on the device")
        return entry

    def remove(self, entry: InterfaceAddress) -> None:
        """Take out an entry of this table."""
        del self._by_dev[entry.dev][entry.address, entry.plen]
        users = self._devices_of[entry.address]
        users[entry.dev] -= 1
        if not users[entry.dev]:
            del users[entry.dev]
            if not users:
                del self._devices_of[entry.address]

    def owned(self, address: Address, dev: int | None = None) -> bool:
        """Whether the address is configured on the device (on any, when None)."""
        users = self._devices_of.get(address, {})
        return bool(users) if dev is None else dev in users

    def connected(self, dev: int, network: Address, plen: int) -> InterfaceAddress | None:
        """The oldest address of the device whose connected network is network/plen."""
        for entry in self.on(dev):
            if entry.plen == plen and entry.network == network:
                return entry
        return None

    def select_source(self, dev: int, target: Address, scope: int) -> Address | None:
        """Source address for talking to `target` over the device.

        IPv4: the last added address in the same subnet, else the last added one; only addresses
        whose scope number does not exceed `scope` (the original's inet_addr_select). IPv6: of the
        scope of the target, the one with the longest common prefix (RFC 6724 rules 2 and 8).
        """
        return best_source(self.usable(dev, target.version, scope), target)

    def usable(self, dev: int, version: int, scope: int) -> list[InterfaceAddress]:
        """The device's addresses that packets of such a scope may come from, oldest first."""
        return [
            entry
            for entry in self.on(dev)
            if entry.scope <= scope and entry.address.version == version and not entry.duplicate
        ]

    def on(self, dev: int) -> list[InterfaceAddress]:
        """The device's addresses, oldest first."""
        return list(self._by_dev.get(dev, {}).values())

    def expired(self, now: float) -> list[InterfaceAddress]:
        """Addresses whose lifetime has ended."""
        return [entry for entry in self if entry.expires is not None and entry.expires <= now]

    def __iter__(self) -> Iterator[InterfaceAddress]:
        for dev in sorted(self._by_dev):
            yield from self.on(dev)

    def __len__(self) -> int:
        return sum(map(len, self._by_dev.values()))
