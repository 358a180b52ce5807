"""Apply records about devices, addresses, routes and neighbours to one worker's stack."""

from __future__ import annotations

import ipaddress
from typing import Any

from ipvs import operations, tcp
from ipvs.context import Ipvs
from ipvs.gate import InlineGate
from ipvs.worker import Worker
from netdev.port import Port
from stack import neigh, route
from stack.context import Stack

KINDS = {"local": route.LOCAL, "link": route.LINK, "gateway": route.GATEWAY}


class ApplyError(ValueError):
    """A record that cannot be applied; nothing was changed.  The text names the reason."""


def address_number(text: str) -> int:
    """Host-order number of an IPv4 address; ApplyError for anything else."""
    try:
        return int(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise ApplyError(f"not an IPv4 address: {text!r}") from error


def mac_number(text: str) -> int:
    """MAC address as the low 48 bits of a little-endian load of its six bytes."""
    raw = bytes.fromhex(text.replace(":", ""))
    if len(raw) != 6:
        raise ApplyError(f"not a MAC address: {text!r}")
    return int.from_bytes(raw, "little")


class InetRecords:
    """Handlers of the records below IPVS; ``worker`` is what they change."""

    worker: Worker
    gate: InlineGate

    @property
    def context(self) -> Any:
        return Ipvs(self.worker.address)

    @property
    def stack(self) -> Any:
        return Stack(self.context.stack)

    def _run(self, full: str, *steps: tuple[int, ...]) -> None:
        """Have operations executed; ApplyError ``full`` when a table has no room."""
        if not self.gate.run(steps):
            raise ApplyError(full)

    def _local_flags(self, address: int) -> int:
        """Hook: flags of the local route of ``address`` (the layer above may have some)."""
        return 0

    def set_device(self, body: dict[str, Any]) -> None:
        """MTU or MAC of a port that the worker was started with."""
        if body["id"] >= self.stack.port_count:
            raise ApplyError(f"no port {body['id']} in this worker")
        port = Port(self.stack.ports[body["id"]])
        port.mac, port.mtu = mac_number(body["mac"]), body["mtu"]
        port.up = 1 if body.get("up", True) else 0

    def set_address(self, body: dict[str, Any]) -> None:
        """One of our addresses: announced by the first worker (RFC 5227)."""
        address, dev = address_number(body["addr"]), body["dev"]
        if dev >= self.stack.port_count:
            raise ApplyError(f"no port {dev} in this worker")
        if self.worker.index == 0 and Port(self.stack.ports[dev]).tx_queue >= 0:
            self._run("", (operations.ANNOUNCE, dev, address))

    def delete_address(self, body: dict[str, Any]) -> None:
        """Nothing of its own: the address's routes are deleted by records of theirs."""

    def set_route(self, body: dict[str, Any]) -> None:
        """Add or replace a route."""
        prefix, plen, kind = address_number(body["dst"]), body["plen"], KINDS[body["kind"]]
        if body["dev"] >= self.stack.port_count:
            raise ApplyError(f"no port {body['dev']} in this worker")
        via = address_number(body["via"]) if body.get("via") else 0
        source = address_number(body["src"]) if body.get("src") else 0
        flags = self._local_flags(prefix) if plen == 32 and kind == route.LOCAL else 0
        way = (kind, via, body["dev"], source, body.get("mtu") or 0, flags)
        self._run("route table full", (operations.ROUTE_SET, prefix, plen, *way))

    def delete_route(self, body: dict[str, Any]) -> None:
        """Remove a route; one that is not there is no error (a snapshot may precede it)."""
        self._run("", (operations.ROUTE_DELETE, address_number(body["dst"]), body["plen"]))

    def set_neighbour(self, body: dict[str, Any]) -> None:
        """A neighbour from the operator (static) or learnt by another worker."""
        address, dev, mac = address_number(body["addr"]), body["dev"], mac_number(body["mac"])
        if dev >= self.stack.port_count:
            raise ApplyError(f"no port {dev} in this worker")
        static = 1 if body.get("static") else 0
        self._run("neighbour table full", (operations.NEIGHBOUR_SET, dev, address, mac, static))

    def delete_neighbour(self, body: dict[str, Any]) -> None:
        """Forget a neighbour's MAC."""
        self._run("", (operations.NEIGHBOUR_DELETE, body["dev"], address_number(body["addr"])))

    def set_parameters(self, body: dict[str, Any]) -> None:
        """Tunable settings; names the worker does not know are ignored."""
        w, stack = self.context, self.stack
        if "tcp_timeouts" in body or "udp_timeouts" in body:
            tcp.fill_tables(w.states, body.get("tcp_timeouts"), body.get("udp_timeouts"))
        for name in ("xmit_ttl", "init_timeout"):
            if body.get(name) is not None:
                setattr(w, name, int(body[name]))
        if body.get("forwarding") is not None:
            stack.forwarding = int(body["forwarding"])
        table = neigh.NeighbourTable(stack.neighbours)
        if body.get("neigh_timeout") is not None:
            table.reachable_ms = int(body["neigh_timeout"]) * 1000
        if body.get("neigh_queue") is not None:
            table.queue_limit = int(body["neigh_queue"])
