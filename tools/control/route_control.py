"""Changes of the route table and the source address that goes with each route."""

from __future__ import annotations

from . import replication as stream
from .addresses import AddressTable, InterfaceAddress
from .devices import Device, DeviceTable
from .errors import Code, ControlError
from .inettypes import SCOPE_NUMBERS, Address, family, full_length, is_host_address
from .route_rows import RouteRows
from .routes import GATEWAY, LINK, Route, RouteTable

_SOURCE_SCOPE = {LINK: SCOPE_NUMBERS["link"], GATEWAY: SCOPE_NUMBERS["global"]}
_FEW = 64  # changed routes that are published as records of their own


class RouteControl:
    """Validates and applies route changes, and keeps the automatic routes of addresses."""

    def __init__(
        self, publisher: stream.Publisher, devices: DeviceTable, addresses: AddressTable
    ) -> None:
        self.table = RouteTable()
        self.rows = {version: RouteRows(version) for version in (4, 6)}
        self._publisher = publisher
        self._devices = devices
        self._addresses = addresses

    def _publish_set(self, route: Route) -> None:
        if self.table.preferred(route.dst, route.plen) is not route:
            return
        source, mtu = self._source(route), route.mtu or self._devices[route.dev].mtu
        if not route.local:
            self.rows[route.dst.version].put(route, source, mtu)
        self._publisher.publish(*stream.route_set(route, source, mtu))

    def _enter(self, route: Route) -> None:
        displaced = self.table.preferred(route.dst, route.plen)
        self.table.add(route)
        if displaced is not None and self.table.preferred(route.dst, route.plen) is route:
            self.rows[route.dst.version].drop(displaced)
        self._publish_set(route)

    def _take_out(self, route: Route) -> None:
        published = self.table.preferred(route.dst, route.plen) is route
        self.table.remove(route)
        self.rows[route.dst.version].drop(route)
        heir = self.table.preferred(route.dst, route.plen)
        if heir is None:
            self._publisher.publish(*stream.route_del(route))
        elif published:
            self._publish_set(heir)

    def _source(self, route: Route) -> Address | None:
        if route.local or route.src is not None:
            return route.src
        # An IPv6 source depends on whom it is for, not on who forwards.
        target = route.via if route.via is not None and route.dst.version == 4 else route.dst
        return self._addresses.select_source(route.dev, target, _SOURCE_SCOPE[route.kind])

    def add(self, route: Route) -> None:
        """Enter an operator's route over a known device.

        INVAL for contradictions, NOROUTE for a gateway that is not on a link of the device,
        EXIST for a duplicate, RESOURCE when the table is full.
        """
        full = full_length(route.dst)
        if route.local and (route.plen != full or route.via is not None or route.src is not None):
            raise ControlError(
                Code.INVAL, f"a local (scope host) route is a /{full} without gateway and source"
            )
        if any(a is not None and a.version != route.dst.version for a in (route.via, route.src)):
            raise ControlError(Code.INVAL, "addresses of both families in one route")
        self.table.check_absent(route)
        self.table.check_room(1, route.dst.version)
        device = self._devices[route.dev]
        if route.via is not None:
            self._check_gateway(route.via, device)
        if route.src is not None and not self._addresses.owned(route.src):
            raise ControlError(Code.INVAL, f"source {route.src} is not an address of any device")
        least = 68 if route.dst.version == 4 else 1280  # RFC 791, RFC 8200
        if route.mtu and not least <= route.mtu <= device.mtu:
            raise ControlError(
                Code.INVAL,
                f"route mtu {route.mtu} is not within {least}..{device.mtu} ({device.name})",
            )
        self._enter(route)

    def _check_gateway(self, via: Address, device: Device) -> None:
        if not is_host_address(via):
            raise ControlError(Code.INVAL, f"{via} cannot be a gateway")
        if self._addresses.owned(via):
            raise ControlError(Code.INVAL, f"gateway {via} is an address of this host")
        if not any(route.via is None for route in self.table.covering(via, device.id)):
            raise ControlError(
                Code.NOROUTE, f"gateway {via} is not on a connected network of {device.name}"
            )

    def device_towards(self, via: Address) -> int:
        """The device on whose link the gateway is; NOROUTE when there is none."""
        best = self.table.lookup(via)
        if best is None or best.via is not None:
            raise ControlError(Code.NOROUTE, f"gateway {via} is on no connected network")
        return best.dev

    def delete(
        self, dst: Address, plen: int, local: bool, dev: int | None, via: Address | None
    ) -> None:
        """Remove the one route that matches; `dev` and `via` may be left out.

        NOTEXIST when none matches, INVAL when several do.
        """
        found = [
            route
            for route in self.table.matching(dst, plen)
            if route.local == local and dev in (None, route.dev) and via in (None, route.via)
        ]
        if not found:
            kind = "local route" if local else "route"
            raise ControlError(Code.NOTEXIST, f"there is no such {kind} to {dst}/{plen}")
        if len(found) > 1:
            names = ", ".join(self._devices[route.dev].name for route in found)
            raise ControlError(
                Code.INVAL, f"several routes to {dst}/{plen} match; name one device of: {names}"
            )
        self._take_out(found[0])

    def flush(self, dev: int, af: str | None = None) -> None:
        """Remove the device's routes (of one family), except the local ones of addresses it still
        has."""
        for route in self.table.on(dev):
            if af in (None, family(route.dst)) and not (route.local and route.auto):
                self._take_out(route)

    def address_added(self, entry: InterfaceAddress) -> None:
        """Make the routes of a new address, unless they are there, and choose sources anew."""
        full = full_length(entry.address)
        local = Route(entry.address, full, entry.dev, local=True, auto=True)
        if self.table.get(local.key) is None:
            self._enter(local)
        if entry.plen < full:
            net = Route(entry.network, entry.plen, entry.dev, src=entry.address, auto=True)
            if self.table.get(net.key) is None:
                self._enter(net)
        self.choose_sources(entry.dev, entry.address.version, fresh=entry)

    def address_removed(self, entry: InterfaceAddress) -> None:
        """Remove the routes of a removed address that no other address needs.

        A route the operator gave this source goes on with a chosen one.
        """
        addresses, dev = self._addresses, entry.dev
        full = full_length(entry.address)
        if entry.plen < full:
            net = self.table.get((False, entry.network, entry.plen, dev))
            if net is not None and net.auto:
                heir = addresses.connected(dev, entry.network, entry.plen)
                if heir is None:
                    self._take_out(net)
                else:
                    self.table.give_source(net, heir.address)
                    self._publish_set(net)
        touched = {dev}
        if not addresses.owned(entry.address):
            touched |= self._release(self.table.with_source(entry.address))
        for one in sorted(touched):
            self.choose_sources(one, entry.address.version, gone=entry.address)
        local = self.table.get((True, entry.address, full, dev))
        if local is not None and local.auto and not addresses.owned(entry.address, dev):
            self._take_out(local)

    def _release(self, routes: list[Route]) -> set[int]:
        """These go on with a chosen source; the devices whose sources are to be chosen now."""
        for route in routes:
            self.table.give_source(route, None)
            self.rows[route.dst.version].release(route)
        return {route.dev for route in routes}

    def address_unused(self, entry: InterfaceAddress) -> None:
        """An address must not be used: its local route goes, and no route speaks from it."""
        local = self.table.get((True, entry.address, full_length(entry.address), entry.dev))
        if local is not None and local.auto:
            self._take_out(local)
        speaking = self.table.with_source(entry.address)
        self._release([route for route in speaking if route.dev == entry.dev])
        self.choose_sources(entry.dev, entry.address.version, gone=entry.address)

    def choose_sources(
        self,
        dev: int,
        version: int,
        fresh: InterfaceAddress | None = None,
        gone: Address | None = None,
    ) -> None:
        """Choose the sources of the device's routes of an IP version again, after a change of its
        addresses, and publish those that changed.

        `fresh` is the address that came, `gone` the one that went, if that was all.
        """
        usable = {
            kind: self._addresses.usable(dev, version, scope)
            for kind, scope in _SOURCE_SCOPE.items()
        }
        rows = self.rows[version]
        changed = rows.choose(dev, usable, fresh, gone)
        if len(changed) > _FEW:
            for record in rows.records("routes.set", changed):
                self._publisher.publish(*record)
            return
        for slot in changed:
            route, source = rows.route(slot)
            mtu = route.mtu or self._devices[dev].mtu
            self._publisher.publish(*stream.route_set(route, source, mtu))

    def republish_default_mtu(self, device: Device) -> None:
        """The device's mtu changed: routes without own mtu take it, larger ones are cut to it."""
        for route in self.table.on(device.id):
            if route.mtu > device.mtu:
                route.mtu = device.mtu
            self._publish_set(route)

    def snapshot(self) -> list[stream.Record]:
        """Records of the routes that packets take."""
        return [
            *(
                stream.route_set(route, route.src, route.mtu or self._devices[route.dev].mtu)
                for route in self.table.locals()
                if self.table.preferred(route.dst, route.plen) is route
            ),
            *(record for rows in self.rows.values() for record in rows.records("routes.set")),
        ]
