"""The authoritative route table, both families.

Order is the original's: local (/32, /128) routes first, then networks by descending prefix
length, a new one after those of the same length. A route is identified by destination, prefix
length and device (local and network routes apart).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .errors import Code, ControlError
from .inettypes import Address, full_length, network_of

#: capacity of a worker's route tables, each, unless the configuration has another
MAX_ROUTES = 1 << 16

LOCAL, LINK, GATEWAY = "local", "link", "gateway"
_SCOPES = {LOCAL: "host", LINK: "link", GATEWAY: "global"}

#: (local?, destination, prefix length, device id)
RouteKey = tuple[bool, Address, int, int]


@dataclass(slots=True)
class Route:
    """`src` is the configured source; `auto` marks a route that an interface address made.

    `mtu` 0 means the device's. `slot` is its row among the published network routes, -1: none; what
    source workers are told to use is there: `src`, or a choice among the device's addresses.
    """

    dst: Address
    plen: int
    dev: int
    local: bool = False
    via: Address | None = None
    src: Address | None = None
    mtu: int = 0
    metric: int = 0
    auto: bool = False
    slot: int = field(default=-1, compare=False)

    @property
    def key(self) -> RouteKey:
        """Identity in the table."""
        return (self.local, self.dst, self.plen, self.dev)

    @property
    def kind(self) -> str:
        """local, link or gateway."""
        return LOCAL if self.local else LINK if self.via is None else GATEWAY

    @property
    def scope(self) -> str:
        """Derived, never stored: local is host, no gateway is link, else global."""
        return _SCOPES[self.kind]


class RouteTable:
    """Routes with exact, longest-prefix and per-device access; at most `most` by IP version."""

    def __init__(self) -> None:
        self._local: dict[RouteKey, Route] = {}
        self._networks: list[dict[RouteKey, Route]] = [{} for _ in range(129)]
        self._by_prefix: dict[tuple[int, Address], list[Route]] = {}
        self._by_dev: dict[int, dict[RouteKey, Route]] = {}
        self._by_source: dict[Address, dict[RouteKey, Route]] = {}
        self._sizes = {4: 0, 6: 0}
        self.most = {4: MAX_ROUTES, 6: MAX_ROUTES}

    def _part(self, key: RouteKey) -> dict[RouteKey, Route]:
        return self._local if key[0] else self._networks[key[2]]

    def get(self, key: RouteKey) -> Route | None:
        """The route with this identity."""
        return self._part(key).get(key)

    def check_absent(self, route: Route) -> None:
        """EXIST when a route with the same identity is there."""
        if self.get(route.key) is not None:
            raise ControlError(
                Code.EXIST,
                f"a {'local ' if route.local else ''}route to {route.dst}/{route.plen} "
                "over the device exists already",
            )

    def add(self, route: Route) -> None:
        """Enter a route that `check_absent` has passed."""
        self._part(route.key)[route.key] = route
        self._by_dev.setdefault(route.dev, {})[route.key] = route
        self._by_prefix.setdefault((route.plen, route.dst), []).append(route)
        self._sizes[route.dst.version] += 1
        self._note_source(route)

    def _note_source(self, route: Route) -> None:
        if route.src is not None:
            self._by_source.setdefault(route.src, {})[route.key] = route

    def _forget_source(self, route: Route) -> None:
        if route.src is not None:
            del self._by_source[route.src][route.key]
            if not self._by_source[route.src]:
                del self._by_source[route.src]

    def give_source(self, route: Route, src: Address | None) -> None:
        """Give a route of this table another configured source."""
        self._forget_source(route)
        route.src = src
        self._note_source(route)

    def with_source(self, src: Address) -> list[Route]:
        """The routes with this configured source, in no order."""
        return list(self._by_source.get(src, {}).values())

    def remove(self, route: Route) -> None:
        """Take out a route of this table."""
        self._forget_source(route)
        self._sizes[route.dst.version] -= 1
        del self._part(route.key)[route.key]
        del self._by_dev[route.dev][route.key]
        same = self._by_prefix[route.plen, route.dst]
        same.remove(route)
        if not same:
            del self._by_prefix[route.plen, route.dst]

    def check_room(self, count: int, version: int = 4) -> None:
        """RESOURCE when `count` more routes of an IP version do not fit."""
        most, present = self.most[version], self._sizes[version]
        if present + count > most:
            raise ControlError(Code.RESOURCE, f"there are {present} routes, at most {most}")

    def matching(self, dst: Address, plen: int) -> list[Route]:
        """Local and network routes to exactly dst/plen, over whatever device, oldest first."""
        return list(self._by_prefix.get((plen, dst), ()))

    def preferred(self, dst: Address, plen: int) -> Route | None:
        """The one route to exactly dst/plen that packets take: first in table order."""
        found = self._by_prefix.get((plen, dst), ())
        return next((route for route in found if route.local), found[0] if found else None)

    def covering(self, address: Address, dev: int | None = None) -> Iterator[Route]:
        """Network routes to `address`, best first, optionally over one device only."""
        for plen in range(full_length(address), -1, -1):
            if self._networks[plen]:
                for route in self.matching(network_of(address, plen), plen):
                    if not route.local and dev in (None, route.dev):
                        yield route

    def lookup(self, address: Address) -> Route | None:
        """The network route a packet to `address` takes."""
        return next(self.covering(address), None)

    def locals(self) -> list[Route]:
        """The local routes in table order."""
        return list(self._local.values())

    def on(self, dev: int) -> list[Route]:
        """The device's routes in table order."""
        routes = self._by_dev.get(dev, {}).values()
        return sorted(routes, key=lambda route: (not route.local, -route.plen))

    def __iter__(self) -> Iterator[Route]:
        yield from list(self._local.values())
        for part in reversed(self._networks):
            yield from list(part.values())

    def __len__(self) -> int:
        return len(self._local) + sum(map(len, self._networks))
