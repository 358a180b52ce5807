"""Apply records about routes to one worker's tables, one at a time or thousands.

Routes may be very many: which of them a snapshot mentioned is a mark on each in the table itself,
and everything that takes long is done in steps between which packets flow.
"""

from __future__ import annotations

import ctypes
from typing import Any

from ipvs import operations, operations6
from ipvs import route_rows as bulk
from ipvs.apply_inet import ApplyError, InetRecords, address_number, is_ipv6
from stack import route, route6
from stack.address6 import masked_words, words

KINDS = {"local": route.LOCAL, "link": route.LINK, "gateway": route.GATEWAY}
FULL = "route table full"


class RouteRecords(InetRecords):
    """Handlers of the records of routes.

    ``late`` holds what a snapshot brought and found no room: it waits for the snapshot's end, when
    the routes go that it did not mention.
    """

    late: list[tuple[str, dict[str, Any]]]

    @property
    def in_snapshot(self) -> bool:
        """Hook: whether a snapshot is being received."""
        return False

    def _local_flags(self, address: int) -> int:
        """Hook: flags of the local route of ``address`` (the layer above may have some)."""
        return 0

    def _local_flags6(self, high: int, low: int) -> int:
        """The same for an IPv6 address."""
        return 0

    def set_route(self, body: dict[str, Any]) -> None:
        """Add or replace a route."""
        self._port(body)
        if is_ipv6(body["dst"]):
            self._set_route6(body)
            return
        prefix, plen, kind = address_number(body["dst"]), body["plen"], KINDS[body["kind"]]
        via = address_number(body["via"]) if body.get("via") else 0
        source = address_number(body["src"]) if body.get("src") else 0
        flags = self._local_flags(prefix) if plen == 32 and kind == route.LOCAL else 0
        way = (kind, via, body["dev"], source, body.get("mtu") or 0, flags)
        self._enter(body, (operations.ROUTE_SET, prefix, plen, *way))

    def _set_route6(self, body: dict[str, Any]) -> None:
        kind, mtu = KINDS[body["kind"]], body.get("mtu") or 0
        prefix = masked_words(body["dst"], body["plen"])
        own = body["plen"] == 128 and kind == route.LOCAL
        flags = self._local_flags6(*prefix) if own else 0
        way = operations6.way6(body["plen"], kind, body["dev"], mtu, flags)
        hop, source = words(body.get("via") or "::"), words(body.get("src") or "::")
        self._enter(body, (operations6.ROUTE6_SET, *prefix, way, *hop, *source))

    def delete_route(self, body: dict[str, Any]) -> None:
        """Remove a route; one that is not there is no error (a snapshot may precede it)."""
        if is_ipv6(body["dst"]):
            prefix = masked_words(body["dst"], body["plen"])
            self._run("", (operations6.ROUTE6_DELETE, *prefix, body["plen"]))
            return
        self._run("", (operations.ROUTE_DELETE, address_number(body["dst"]), body["plen"]))

    def _enter(self, body: dict[str, Any], step: tuple[int, ...]) -> None:
        if not self.gate.run([step]):
            self._no_room("route.set", body)

    def _no_room(self, kind: str, body: dict[str, Any]) -> None:
        if not self.in_snapshot:
            raise ApplyError(FULL)
        self.late.append((kind, body))

    def set_routes(self, body: dict[str, Any]) -> None:
        """Add or replace routes: all of the record's rows, or none."""
        version = body["version"]
        rows, count = self._rows(body)
        if not bulk.has_room(self.stack.ptr, rows, count, version):
            self._no_room("routes.set", body)
            return
        self._in_steps(operations.ROUTE_ROWS, rows, count, version)

    def delete_routes(self, body: dict[str, Any]) -> None:
        """Remove the routes to the rows' prefixes; those that are not there are no error."""
        rows, count = self._rows(body)
        self._in_steps(operations.ROUTE_ROWS_DELETE, rows, count, body["version"])

    def _rows(self, body: dict[str, Any]) -> tuple[int, int]:
        """Where a record's rows lie and how many; ApplyError when one of them is impossible."""
        raw, version = body["rows"], body["version"]
        at = ctypes.cast(ctypes.c_char_p(raw), ctypes.c_void_p).value or 0
        count = len(raw) // bulk.ROW_SIZE
        wrong = bulk.first_fault(self.stack.ptr, at, count, version)
        if wrong >= 0:
            row = raw[wrong * bulk.ROW_SIZE : (wrong + 1) * bulk.ROW_SIZE]
            raise ApplyError(f"IPv{version} route {wrong} of {count} is impossible: {row.hex()}")
        return at, count

    def _in_steps(self, code: int, rows: int, count: int, version: int) -> None:
        for first in range(0, count, bulk.ROWS_PER_STEP):
            some = min(bulk.ROWS_PER_STEP, count - first)
            self._run(FULL, (code, rows + first * bulk.ROW_SIZE, some, version))

    def _heads(self) -> list[tuple[int, Any]]:
        """(IP version, head) of the route tables."""
        views = (4, route.RouteTable), (6, route6.Route6Table)
        return [(version, view(bulk.table_of(self.stack.ptr, version))) for version, view in views]

    def begin_routes(self) -> None:
        """A snapshot begins: routes that it does not mention keep an old mark."""
        self.late = []
        for version, head in self._heads():
            view = route.RouteTable if version == 4 else route6.Route6Table
            step = (operations.STORE64, head.ptr + view.offset("mark"), head.mark + 1 & 0xFFFFFFFF)
            self._run("", step)

    def sweep_routes(self) -> None:
        """The snapshot is complete: remove the routes with an old mark."""
        for version, head in self._heads():
            for first in range(0, int(head.buckets), bulk.BUCKETS_PER_STEP):
                step = (operations.ROUTE_SWEEP, first, bulk.BUCKETS_PER_STEP, version)
                self._run("", step)
