"""Apply records about devices, addresses, routes and neighbours to one worker's stack."""

from __future__ import annotations

import ipaddress
from typing import Any

from ipvs import tcp
from ipvs.context import Ipvs
from ipvs.worker import Worker
from netdev.port import Port
from stack import arp, neigh, route
from stack.context import Stack, bump_generation

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

    @property
    def context(self) -> Any:
        return Ipvs(self.worker.address)

    @property
    def stack(self) -> Any:
        return Stack(self.context.stack)

    def _mark_local(self, address: int) -> None:
        """Hook: a local route appeared (the layer above may have something to note on it)."""

    def _routes_changed(self) -> None:
        bump_generation(self.context.stack)

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
            arp.announce(self.context.stack, dev, address)

    def delete_address(self, body: dict[str, Any]) -> None:
        """Nothing of its own: the address's routes are deleted by records of theirs."""

    def set_route(self, body: dict[str, Any]) -> None:
        """Add or replace a route."""
        prefix, kind = address_number(body["dst"]), KINDS[body["kind"]]
        if body["dev"] >= self.stack.port_count:
            raise ApplyError(f"no port {body['dev']} in this worker")
        via = address_number(body["via"]) if body.get("via") else 0
        source = address_number(body["src"]) if body.get("src") else 0
        arguments = (prefix, body["plen"], kind, via, body["dev"], source, body.get("mtu") or 0)
        if not route.insert(self.stack.routes, *arguments):
            raise ApplyError("route table full")
        self._mark_local(prefix)
        self._routes_changed()

    def delete_route(self, body: dict[str, Any]) -> None:
        """Remove a route; one that is not there is no error (a snapshot may precede it)."""
        route.remove(self.stack.routes, address_number(body["dst"]), body["plen"])
        self._routes_changed()

    def set_neighbour(self, body: dict[str, Any]) -> None:
        """A neighbour from the operator (static) or learnt by another worker."""
        address, dev = address_number(body["addr"]), body["dev"]
        if dev >= self.stack.port_count:
            raise ApplyError(f"no port {dev} in this worker")
        stack = self.context.stack
        entry = neigh.find_or_add(stack, dev, address)
        if not entry:
            raise ApplyError("neighbour table full")
        if body.get("static"):
            neigh.Neighbour(entry).permanent = 0
        neigh.learn(stack, entry, mac_number(body["mac"]))
        if body.get("static"):
            neigh.Neighbour(entry).permanent = 1

    def delete_neighbour(self, body: dict[str, Any]) -> None:
        """Forget a neighbour's MAC."""
        table = self.stack.neighbours
        entry = neigh.find(table, body["dev"], address_number(body["addr"]))
        if entry:
            neigh.remove(self.context.stack, entry)

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
