"""Apply records about services, real servers and local addresses to one worker's tables."""

from __future__ import annotations

import ctypes
import math
from typing import Any

from ipvs import laddr as pools
from ipvs import rebuild, service
from ipvs.apply_inet import ApplyError, InetRecords, address_number
from ipvs.dest import DEST_SIZE, STATS_SIZE, Dest, DestStats
from ipvs.entry import MODE_NAT, MODES
from ipvs.rss import Rss
from ipvs.service import SCHEDULERS, Service, service_at
from stack import route

PROTOCOLS = {"tcp": 6, "udp": 17}


class ServiceRecords(InetRecords):
    """Handlers of the records of IPVS; ``replicas`` is how many pools a local address has."""

    replicas: int
    lists: dict[int, Any]
    service_dests: dict[int, list[int]]
    pool_memory: dict[int, tuple[int, str]]

    def set_local_address(self, body: dict[str, Any]) -> None:
        """Create the port pools of a local address; a second record for it changes nothing."""
        number, address = body["id"], address_number(body["addr"])
        if not 0 <= number < pools.MAX_LADDRS:
            raise ApplyError(f"local address id {number} out of range")
        if body["dev"] >= self.stack.port_count:
            raise ApplyError(f"no port {body['dev']} in this worker")
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
        rebuild.mark_ports(w.table, number, held, self.replicas)
        stats = w.laddr_stats + number * pools.LADDR_STATS_SIZE
        total = pools.fill_pools(
            local.ptr, stats, memory, self.replicas, w.worker, w.workers, known_rss, held
        )
        if known_rss:
            # All workers list all ports, and each can use its share of them: the workers'
            # numbers add up to the ports that exist.
            share = pools.LaddrStats(stats)
            share.free = (total + share.used) // w.workers - share.used
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
        stats = DestStats(w.dest_stats + body["id"] * STATS_SIZE)
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
