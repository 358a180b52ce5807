"""Apply the master's replication records to one worker's tables (runs between polls).

Record kinds and bodies are those of the control plane's replication stream.  Every record states
a whole object, so applying one twice changes nothing.
"""

from __future__ import annotations

import ctypes
import ipaddress
import math
from collections.abc import Callable
from typing import Any

from ipvs import laddr as pools
from ipvs import rebuild, service, tcp
from ipvs.context import Ipvs
from ipvs.dest import DEST_SIZE, Dest, DestStats
from ipvs.entry import MODE_NAT, MODES
from ipvs.rss import Rss
from ipvs.service import SCHEDULERS, Service, service_at
from ipvs.table import Table
from ipvs.worker import Worker
from netdev.port import Port
from stack import arp, neigh, route
from stack.context import Stack

PROTOCOLS = {"tcp": 6, "udp": 17}
KINDS = {"local": route.LOCAL, "link": route.LINK, "gateway": route.GATEWAY}

# What makes a record's object one and the same, by the first word of its kind.
IDENTITY = {
    "addr": ("addr", "dev"),
    "route": ("dst", "plen", "dev"),
    "neigh": ("addr", "dev"),
    "laddr": ("id",),
    "svc": ("id",),
}


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


class Applier:
    """Applies records to ``worker``; ``replicas`` is sa_pool/pool_hash_size (a power of two)."""

    def __init__(self, worker: Worker, replicas: int = 16) -> None:
        self.worker = worker
        self.replicas = replicas
        self.lists: dict[int, Any] = {}
        self.service_dests: dict[int, list[int]] = {}
        self.known: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.snapshot: set[tuple[Any, ...]] | None = None
        self.pool_memory: dict[int, tuple[int, str]] = {}
        self.kinds: dict[str, Callable[[dict[str, Any]], None]] = {
            "dev.set": self.set_device,
            "addr.set": self.set_address,
            "addr.del": self.delete_address,
            "route.set": self.set_route,
            "route.del": self.delete_route,
            "neigh.set": self.set_neighbour,
            "neigh.del": self.delete_neighbour,
            "laddr.set": self.set_local_address,
            "laddr.del": self.delete_local_address,
            "svc.set": self.set_service,
            "svc.del": self.delete_service,
            "param.set": self.set_parameters,
        }

    def apply(self, kind: str, body: dict[str, Any]) -> None:
        """Apply one record; ApplyError when it is unknown or its content impossible."""
        handler = self.kinds.get(kind)
        if handler is None:
            raise ApplyError(f"unknown record kind {kind!r}")
        try:
            handler(body)
            self._note(kind, body)
        except KeyError as error:
            raise ApplyError(f"{kind}: field {error} is missing") from error

    def _note(self, kind: str, body: dict[str, Any]) -> None:
        """Remember what exists, so that a snapshot can tell what no longer does."""
        what, _, verb = kind.partition(".")
        names = IDENTITY.get(what)
        if names is None:
            return
        key = (what, *(body[name] for name in names))
        if verb == "set":
            self.known[key] = {name: body[name] for name in names}
            if self.snapshot is not None:
                self.snapshot.add(key)
        else:
            self.known.pop(key, None)

    def begin_snapshot(self) -> None:
        """A snapshot of everything follows (the stream had a gap, or this worker is new)."""
        self.snapshot = set()

    def end_snapshot(self) -> None:
        """Delete whatever the snapshot did not mention; packets flowed all the while."""
        if self.snapshot is None:
            return
        for key in [key for key in self.known if key not in self.snapshot]:
            self.apply(f"{key[0]}.del", self.known[key])
        self.snapshot = None

    @property
    def context(self) -> Any:
        return Ipvs(self.worker.address)

    @property
    def stack(self) -> Any:
        return Stack(self.context.stack)

    def _routes_changed(self) -> None:
        self.stack.generation = (self.stack.generation + 1) & 0xFFFF

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

    def set_local_address(self, body: dict[str, Any]) -> None:
        """Create the port pools of a local address; a second record for it changes nothing."""
        number, address = body["id"], address_number(body["addr"])
        if not 0 <= number < pools.MAX_LADDRS:
            raise ApplyError(f"local address id {number} out of range")
        known = self.pool_memory.get(number)
        if known is not None and known[1] == body["addr"]:
            return
        w = self.context
        local = pools.Laddr(w.laddrs + number * pools.LADDR_SIZE)
        memory = known[0] if known else self.worker.memory.take(pools.pool_bytes(self.replicas))
        local.address, local.port, local.present = address, body["dev"], 1
        reta = Rss(w.rss).port[body["dev"]]
        known_rss = 1 if self.worker.count > 1 and reta.size else 0
        marks = (ctypes.c_uint8 * (self.replicas * pools.RING))()
        held = ctypes.addressof(marks)
        rebuild.mark_ports(w.table, number, held)
        stats = w.laddr_stats + number * pools.LADDR_STATS_SIZE
        pools.fill_pools(
            local.ptr, stats, memory, self.replicas, w.worker, w.workers, known_rss, held
        )
        self.pool_memory[number] = (memory, body["addr"])
        self._mark_local(address)

    def delete_local_address(self, body: dict[str, Any]) -> None:
        """No new connections from it; those that are go on and return their ports."""
        known = self.pool_memory.get(body["id"])
        if known is not None:
            local = pools.Laddr(self.context.laddrs + body["id"] * pools.LADDR_SIZE)
            local.present = 0
            self.pool_memory[body["id"]] = (known[0], "")
            self._mark_local(local.address)

    def _mark_local(self, address: int) -> None:
        """Note on the address's local route whether FullNAT replies come to it."""
        found = route.find_exact(self.stack.routes, address, 32)
        if not found or route.Route(found).kind != route.LOCAL:
            return
        flags = 0
        for number in self.pool_memory:
            local = pools.Laddr(self.context.laddrs + number * pools.LADDR_SIZE)
            if local.address == address and local.present:
                flags = route.SAPOOL | (route.RSS_KNOWN if local.rss_known else 0)
        route.Route(found).flags = flags

    def _set_dest(self, body: dict[str, Any]) -> None:
        w = self.context
        dest = Dest(w.dests + body["id"] * DEST_SIZE)
        dest.address, dest.port = address_number(body["addr"]), body["port"]
        dest.mode, dest.weight = MODES[body["mode"]], body["weight"]
        dest.inhibited = 1 if body.get("inhibited") else 0
        upper = body.get("u_thresh") or 0
        # Every worker gets its share; never less than one, or the limit would not exist.
        dest.upper = max(1, upper // w.workers) if upper else 0
        stats = DestStats(w.dest_stats + body["id"] * 64)
        dest.overload = 1 if dest.upper and stats.active + stats.inactive >= dest.upper else 0
        stats.overload = dest.overload
        dest.present = 1

    def _id_list(self, number: int, ids: list[int]) -> Any:
        return (ctypes.c_uint32 * max(1, len(ids)))(*ids)

    def set_service(self, body: dict[str, Any]) -> None:
        """Add or replace a virtual service with all its real servers and local addresses."""
        w, number = self.context, body["id"]
        if body["proto"] not in PROTOCOLS or body["sched"] not in SCHEDULERS:
            raise ApplyError(f"service {number}: protocol or scheduler not supported")
        address = address_number(body["addr"])
        dests, laddrs = body["dests"], list(body["laddrs"])
        if not all(d["mode"] in MODES for d in dests):
            raise ApplyError(f"service {number}: forwarding mode not supported")
        self.delete_service({"id": number})
        for dest in dests:
            self._set_dest(dest)
        record = Service(service_at(w.services, number))
        record.address, record.port, record.proto = (
            address, body["port"], PROTOCOLS[body["proto"]],
        )  # fmt: skip
        ids = [dest["id"] for dest in dests]
        self.lists[number] = (self._id_list(number, ids), self._id_list(number, laddrs))
        record.dests, record.laddrs = (ctypes.addressof(part) for part in self.lists[number])
        record.dest_count, record.laddr_count = len(ids), len(laddrs)
        record.scheduler = SCHEDULERS[body["sched"]]
        weights = [max(0, int(dest["weight"])) for dest in dests]
        record.max_weight, record.gcd_weight = max(weights, default=0), math.gcd(*weights)
        record.current_weight = 0
        # Workers start at different servers, so that few connections spread evenly too.
        step = (len(ids) // w.workers or 1) * w.worker
        record.position = step % len(ids) - 1 if ids else -1
        record.laddr_position = -1
        record.conn_timeout = body.get("conn_timeout") or 0
        record.expire_quiescent = 1 if "expire_quiescent" in body.get("flags", ()) else 0
        record.nat = 1 if any(MODES[d["mode"]] == MODE_NAT for d in dests) else 0
        w.nat_services += record.nat
        self.service_dests[number] = ids
        service.link(w.services, number)

    def delete_service(self, body: dict[str, Any]) -> None:
        """Remove a service; its connections go on until they time out."""
        w, number = self.context, body["id"]
        if not 0 <= number < service.MAX_SERVICES:
            raise ApplyError(f"service id {number} out of range")
        if service.unlink(w.services, number):
            w.nat_services -= Service(service_at(w.services, number)).nat
        for dest in self.service_dests.pop(number, ()):
            Dest(w.dests + dest * DEST_SIZE).present = 0

    def set_parameters(self, body: dict[str, Any]) -> None:
        """Tunable settings; names the worker does not know are ignored."""
        w, stack = self.context, self.stack
        if "tcp_timeouts" in body or "udp_timeouts" in body:
            tcp.fill_tables(w.states, body.get("tcp_timeouts"), body.get("udp_timeouts"))
        for name in ("xmit_ttl", "init_timeout"):
            if name in body:
                setattr(w, name, int(body[name]))
        if "forwarding" in body:
            stack.forwarding = int(body["forwarding"])
        table = neigh.NeighbourTable(stack.neighbours)
        if "neigh_timeout" in body:
            table.reachable_ms = int(body["neigh_timeout"]) * 1000
        if "neigh_queue" in body:
            table.queue_limit = int(body["neigh_queue"])

    def connections(self) -> int:
        """Connections in the table now."""
        return int(Table(self.context.table).count)
