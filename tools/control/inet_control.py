"""Changes of addresses, routes and neighbours: validated fully, then applied, then published.

An interface address makes a local /32 (/128) route and, with a shorter prefix, a connected network
route with the address as source. Two addresses of one device may share these routes; they
go with the last of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv6Address

from . import replication as stream
from .addresses import AddressTable, InterfaceAddress
from .devices import Device, DeviceTable
from .errors import Code, ControlError
from .inettypes import SCOPE_NUMBERS, Address, family, is_host_address, is_link_local6
from .laddrs import LocalPools
from .neighbours import Neighbour, NeighbourTable
from .route_control import RouteControl
from .routes import RouteTable


class InetControl:
    """The IP side of the authoritative state.

    `pool_changed(address)` is called after a local address became usable or unusable, so that
    services listing it are published again.
    """

    def __init__(
        self,
        publisher: stream.Publisher,
        pools: LocalPools,
        clock: Callable[[], float],
        pool_changed: Callable[[Address], None],
        devices: DeviceTable,
    ) -> None:
        self.devices = devices
        self.addresses = AddressTable()
        self.neighbours = NeighbourTable()
        self.pools = pools
        self.routing = RouteControl(publisher, self.devices, self.addresses)
        self._publisher = publisher
        self._clock = clock
        self._pool_changed = pool_changed

    @property
    def routes(self) -> RouteTable:
        """The route table."""
        return self.routing.table

    def _publish(self, record: stream.Record) -> None:
        self._publisher.publish(*record)

    def add_device(self, device: Device) -> None:
        """Enter a started port (daemon start)."""
        self.devices.add(device)
        self._publish(stream.device_set(device))

    def change_device(self, device: Device, mac: str, mtu: int) -> None:
        """The port got another MAC address or mtu (bytes)."""
        remade = mtu != device.mtu
        device.mac, device.mtu = mac, mtu
        self._publish(stream.device_set(device))
        if remade:
            self.routing.republish_default_mtu(device)

    def add_address(self, entry: InterfaceAddress) -> None:
        """Configure an address; INVAL for one a host cannot own, EXIST for a duplicate, RESOURCE
        when there is no room for it or its routes."""
        if not is_host_address(entry.address):
            raise ControlError(Code.INVAL, f"{entry.address} cannot be an interface address")
        if is_link_local6(entry.address):
            entry.scope = SCOPE_NUMBERS["link"]
        self.addresses.check_absent(entry)
        self.routes.check_room(2, entry.address.version)
        pool = self.pools.claim(entry) if entry.sapool else None
        self.addresses.add(entry)
        self._publish(stream.address_set(entry, check=True))
        self.routing.address_added(entry)
        if pool is not None:
            self._publish(stream.laddr_set(pool))
            self._pool_changed(pool.addr)

    def set_address(self, entry: InterfaceAddress) -> None:
        """Change broadcast, scope and lifetime of a configured address; NOTEXIST without it.

        sapool stays as it is; asking for it on an address without it is NOTSUPP.
        """
        old = self.addresses.get(entry.dev, entry.address, entry.plen)
        if entry.sapool and not old.sapool:
            raise ControlError(
                Code.NOTSUPP,
                f"sapool of {old.address} cannot be switched on; delete the address and add it "
                "again with sapool",
            )
        old.broadcast, old.scope, old.expires = entry.broadcast, entry.scope, entry.expires
        if not old.duplicate:
            self._publish(stream.address_set(old))
        self.routing.choose_sources(entry.dev, entry.address.version)

    def add_link_local(self, device: Device, low: int) -> None:
        """Give a port its link-local address (RFC 4291 2.5.6); `low` are its last 64 bits."""
        address = IPv6Address(0xFE80 << 112 | low)
        self.add_address(InterfaceAddress(address, 64, device.id, auto=True))

    def found_duplicate(self, dev: int, address: Address) -> bool:
        """Another host has a new address of ours (RFC 4862 5.4.5): a permanent one stays without
        being used, one with a lifetime is removed. False when the address is not there."""
        found = [entry for entry in self.addresses.on(dev) if entry.address == address]
        for entry in found:
            if entry.expires is not None:
                self._remove(entry)
            elif not entry.duplicate:
                entry.duplicate = True
                self.routing.address_unused(entry)
                self._publish(stream.address_del(entry))
        return bool(found)

    def delete_address(self, dev: int, address: Address, plen: int) -> None:
        """Remove an address and the routes nobody else needs; NOTEXIST without it."""
        self._remove(self.addresses.get(dev, address, plen))

    def flush_addresses(self, dev: int, af: str | None = None) -> None:
        """Remove all addresses of a device, or those of one family (inet, inet6)."""
        entries = self.addresses.on(dev)
        self._remove_all(entry for entry in entries if af in (None, family(entry.address)))

    def expire(self, now: float) -> None:
        """Remove the addresses whose lifetime has ended."""
        self._remove_all(self.addresses.expired(now))

    def _remove_all(self, entries: Iterable[InterfaceAddress]) -> None:
        for entry in entries:
            self._remove(entry)

    def _remove(self, entry: InterfaceAddress) -> None:
        self.addresses.remove(entry)
        pool = self.pools.drop(entry) if entry.sapool else None
        if pool is not None:
            # services let go of the pool before it disappears
            self._pool_changed(pool.addr)
            self._publish(stream.laddr_del(pool))
        self.routing.address_removed(entry)
        self._publish(stream.address_del(entry))

    def set_neighbour(self, dev: int, address: Address, mac: str) -> None:
        """Enter a static neighbour or give it another MAC; it replaces a learnt entry.

        INVAL for an address that cannot be a neighbour's, RESOURCE when there are too many.
        """
        if not is_host_address(address):
            raise ControlError(Code.INVAL, f"{address} cannot be a neighbour's address")
        if self.addresses.owned(address, dev):
            raise ControlError(Code.INVAL, f"{address} is an address of the device itself")
        self._put_neighbour(Neighbour(address, dev, mac, static=True))

    def delete_neighbour(self, dev: int, address: Address) -> None:
        """Remove a neighbour, static or learnt; NOTEXIST without it."""
        entry = self.neighbours.get(dev, address)
        if entry is None:
            raise ControlError(
                Code.NOTEXIST, f"{address} is not a known neighbour on {self.devices[dev].name}"
            )
        self.neighbours.remove(entry.key)
        self._publish(stream.neighbour_del(entry))

    def learn_neighbour(self, dev: int, address: Address, mac: str) -> bool:
        """A worker heard of a neighbour. False when the report is not taken, because the address
        has a static entry or is our own. The entry heard of least recently makes room.

        Told to all workers each time, also when nothing changed: an answer reaches the queue of
        one worker only, and the others wait for it.
        """
        old = self.neighbours.get(dev, address)
        if (old is not None and old.static) or self.addresses.owned(address, dev):
            return False
        entry = Neighbour(address, dev, mac, static=False)
        self.neighbours.put(entry)
        self._publish(stream.neighbour_set(entry))
        surplus = self.neighbours.surplus()
        if surplus is not None:
            self.lose_neighbour(surplus.dev, surplus.address)
        return True

    def lose_neighbour(self, dev: int, address: Address) -> None:
        """Workers gave a learnt neighbour up; static ones stay."""
        entry = self.neighbours.get(dev, address)
        if entry is not None and not entry.static:
            self.neighbours.remove(entry.key)
            self._publish(stream.neighbour_del(entry))

    def _put_neighbour(self, entry: Neighbour) -> None:
        known = self.neighbours.get(*entry.key) == entry
        self.neighbours.put(entry)
        if not known:
            self._publish(stream.neighbour_set(entry))

    def lifetime(self, seconds: int) -> float | None:
        """Clock reading at which an address given `seconds` to live expires; 0 is never."""
        return self._clock() + seconds if seconds else None

    def snapshot(self) -> list[stream.Record]:
        """Records that recreate devices, addresses, routes, neighbours and pools."""
        return [
            *map(stream.device_set, self.devices),
            *(stream.address_set(entry) for entry in self.addresses if not entry.duplicate),
            *self.routing.snapshot(),
            *map(stream.neighbour_set, self.neighbours),
            *map(stream.laddr_set, self.pools),
        ]
