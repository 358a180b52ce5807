"""Apply records about services, real servers and local addresses to one worker's tables."""

from __future__ import annotations

import ctypes
import math
import time
from typing import Any

from ipvs import laddr as pools
from ipvs import operations, rebuild, service
from ipvs.apply_inet import ApplyError, address_number
from ipvs.apply_routes import RouteRecords
from ipvs.apply_rules import check_match, rules_image
from ipvs.apply_schedulers import SchedulerRecords
from ipvs.dest import DestStruct
from ipvs.entry import MODE_NAT, MODES
from ipvs.extra import Extra, ExtraMemory
from ipvs.proxy import PROXY_KINDS
from ipvs.quic_lb import id_table
from ipvs.rss import Rss
from ipvs.service import PERSISTENT, QUIC, ServiceStruct
from stack import route, route6
from stack.address6 import words

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
LONGEST_TIMEOUT = 2_000_000  # seconds, 23 days: idle time is told from a clock of 32 bits of ms


def _together(service: str, server: str, mode: str) -> bool:
    """Whether a mode takes packets from a service's family to the real server's."""
    if (":" in service) == (":" in server) or mode == "tunnel":
        return True
    return ":" in service and mode == "fullnat"


def _set_words(record: Any, text: str) -> None:
    """Enter an address of either family into a record that has fields for both."""
    wide = ":" in text
    record.address = 0 if wide else address_number(text)
    record.high, record.low = words(text) if wide else (0, 0)


class ServiceRecords(RouteRecords, SchedulerRecords):
    """Handlers of the records of IPVS; ``replicas`` is how many pools a local address has."""

    replicas: int
    lists: dict[int, Any]
    service_dests: dict[int, list[int]]
    pool_memory: dict[int, tuple[int, str]]
    matches: dict[int, tuple[int, dict[str, Any]]]  # protocol and match of match services

    def set_local_address(self, body: dict[str, Any]) -> None:
        """Create the port pools of a local address; a second record for it changes nothing."""
        number, address = body["id"], body["addr"]
        if not 0 <= number < pools.MAX_LADDRS:
            raise ApplyError(f"local address id {number} out of range")
        if body["dev"] >= self.stack.port_count:
            raise ApplyError(f"no port {body['dev']} in this worker")
        known = self.pool_memory.get(number)
        if known is not None and known[1] == body["addr"]:
            return
        if known is None:
            # Nobody knows of these pools yet: packets go on while they are filled.
            self._fill(number, address, body["dev"], None)
            with self.gate.alone():
                self._show(number, body["addr"])
            return
        with self.gate.alone():
            # Connections of the address that had this number may still return ports to it.
            self._fill(number, address, body["dev"], known[0])
            self._show(number, body["addr"])

    def _fill(self, number: int, address: str, dev: int, memory: int | None) -> None:
        """Lay the pools out, in ``memory`` or new memory; ports of live connections are held."""
        w = self.context
        local = pools.Laddr(w.laddrs + number * pools.LADDR_SIZE)
        if memory is None:
            memory = self.worker.memory.take(pools.pool_bytes(self.replicas))
        _set_words(local, address)
        local.port = dev
        known_rss = 1 if self.worker.count > 1 and Rss(w.rss).port[dev].size else 0
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
        self.pool_memory[number] = (memory, "")

    def _show(self, number: int, address: str) -> None:
        local = pools.Laddr(self.context.laddrs + number * pools.LADDR_SIZE)
        local.present = 1
        self.pool_memory[number] = (self.pool_memory[number][0], address)
        self._mark_pool(local)

    def delete_local_address(self, body: dict[str, Any]) -> None:
        """No new connections from it; those that are go on and return their ports."""
        known = self.pool_memory.get(body["id"])
        if known is not None:
            local = pools.Laddr(self.context.laddrs + body["id"] * pools.LADDR_SIZE)
            local.present = 0
            self.pool_memory[body["id"]] = (known[0], "")
            self._mark_pool(local)

    def _mark_pool(self, local: Any) -> None:
        """Note on the local route of a pool's address whether it has one."""
        if local.address:
            self._mark_local(local.address)
            return
        found = route6.find_exact6(self.stack.routes6, local.high, local.low, 128)
        if found and route6.Route6(found).kind == route.LOCAL:
            route6.Route6(found).flags = self._pool_flags(0, local.high, local.low)

    def _mark_local(self, address: int) -> None:
        """Note on the address's local route whether FullNAT replies come to it."""
        found = route.find_exact(self.stack.routes, address, 32)
        if found and route.Route(found).kind == route.LOCAL:
            route.Route(found).flags = self._local_flags(address)

    def _local_flags(self, address: int) -> int:
        return self._pool_flags(address, 0, 0)

    def _local_flags6(self, high: int, low: int) -> int:
        return self._pool_flags(0, high, low)

    def _pool_flags(self, address: int, high: int, low: int) -> int:
        flags = 0
        for number in self.pool_memory:
            local = pools.Laddr(self.context.laddrs + number * pools.LADDR_SIZE)
            if (local.address, local.high, local.low) == (address, high, low) and local.present:
                flags = route.SAPOOL | (route.RSS_KNOWN if local.rss_known else 0)
        return flags

    def _dest(self, body: dict[str, Any], service: int) -> DestStruct:
        """The record of a real server of a service."""
        dest = DestStruct()
        dest.service = service + 1
        _set_words(dest, body["addr"])
        dest.port, dest.wide = body["port"], int(":" in body["addr"])
        dest.mode, dest.weight = MODES[body["mode"]], body["weight"]
        dest.inhibited = 1 if body.get("inhibited") else 0
        pool = body.get("pool")
        dest.pool = 0 if pool is None else pool + 1
        upper = body.get("u_thresh") or 0
        # Every worker gets its share; never less than one, or the limit would not exist.
        dest.upper = max(1, upper // self.worker.count) if upper else 0
        slow_start = body.get("slow_start") or 0
        if slow_start:
            # Told as the machine's monotonic clock, which all processes share.
            age = int(time.monotonic() * 1000) - body.get("since", 0)
            if age < slow_start * 1000:
                dest.since = (self.worker.now() - max(age, 0)) & 0xFFFFFFFF
                dest.slow_start = slow_start * 1000
        return dest

    def _id_list(self, number: int, ids: list[int]) -> Any:
        return (ctypes.c_uint32 * max(1, len(ids)))(*ids)

    def set_service(self, body: dict[str, Any]) -> None:
        """Add or replace a virtual service with all its real servers and local addresses."""
        number = body["id"]
        if body["proto"] not in PROTOCOLS:
            raise ApplyError(f"service {number}: protocol not supported")
        extra = ExtraMemory(body)
        extra.persist(body, LONGEST_TIMEOUT)
        scheduler = self.use_scheduler(body["sched"], extra)
        dests, laddrs = body["dests"], list(body["laddrs"])
        if not all(d["mode"] in MODES for d in dests):
            raise ApplyError(f"service {number}: forwarding mode not supported")
        if not all(_together(body["addr"], d["addr"], d["mode"]) for d in dests):
            raise ApplyError(f"service {number}: real server of another family")
        match = body.get("match")
        if match is not None:
            others = len(self.matches) - (number in self.matches)
            check_match(match, others, self.stack.port_count)
        ids = [dest["id"] for dest in dests]
        lists = (self._id_list(number, ids), self._id_list(number, laddrs), extra)
        record = ServiceStruct()
        _set_words(record, body["addr"])
        record.port, record.proto = body["port"], PROTOCOLS[body["proto"]]
        record.wide = int(":" in body["addr"])
        record.dests, record.laddrs = (ctypes.addressof(part) for part in lists[:2])
        record.extra = extra.address
        record.dest_count, record.laddr_count = len(ids), len(laddrs)
        record.scheduler = scheduler
        weights = [max(0, int(dest["weight"])) for dest in dests]
        record.max_weight, record.gcd_weight = max(weights, default=0), math.gcd(*weights)
        # Workers start at different servers, so that few connections spread evenly too.
        step = (len(ids) // self.worker.count or 1) * self.worker.index
        record.position = step % len(ids) - 1 if ids else -1
        record.laddr_position = -1
        record.conn_timeout = min(body.get("conn_timeout") or 0, LONGEST_TIMEOUT)
        record.proxy = PROXY_KINDS[body.get("proxy_protocol") or "disable"]
        record.expire_quiescent = 1 if "expire_quiescent" in body.get("flags", ()) else 0
        record.nat = 1 if any(MODES[d["mode"]] == MODE_NAT for d in dests) else 0
        record.ops = 1 if "ops" in body.get("flags", ()) and body["proto"] == "udp" else 0
        record.sticky = PERSISTENT if body.get("persistent") else 0
        if "quic" in body.get("flags", ()) and match is None:
            record.sticky |= QUIC
            self._give_server_ids(extra, body)
        images = [self._dest(dest, number) for dest in dests]
        before = self.service_dests.get(number, [])
        gone, same = set(before) - set(ids), int(before == ids)
        if same and number in self.lists:
            extra.go_on_from(self.lists[number][2])
        self._run(
            "",
            *((operations.DEST_DELETE, dest) for dest in gone),
            *((operations.DEST_SET, dest, ctypes.addressof(image))
              for dest, image in zip(ids, images, strict=True)),
            (operations.SERVICE_SET, number, ctypes.addressof(record), same),
            *self._change_rules(number, PROTOCOLS[body["proto"]], match),
        )  # fmt: skip
        # Only now: until the operations were done, packets used the lists of before.
        self.lists[number], self.service_dests[number] = lists, ids

    def _give_server_ids(self, extra: ExtraMemory, body: dict[str, Any]) -> None:
        """QUIC-LB: enter the servers' ids, all of the service's length."""
        length, config = body.get("quic_lb") or (0, 0)
        given = {dest["id"]: dest.get("server_id") or b"" for dest in body["dests"]}
        ids = {dest: id_ for dest, id_ in given.items() if length and len(id_) == length}
        extra.server_ids = id_table(ids)
        fields = Extra(extra.address)
        fields.quic_length, fields.quic_config, fields.quic_count = length, config, len(ids)
        fields.quic_ids = ctypes.addressof(extra.server_ids)

    def _change_rules(
        self, number: int, proto: int, match: dict[str, Any] | None
    ) -> list[tuple[int, ...]]:
        """Operations that give a service another match, or none."""
        if match is None and number not in self.matches:
            return []
        self.matches.pop(number, None)
        if match is not None:
            self.matches[number] = (proto, match)
        self._rules = rules_image(self.matches)
        size = ctypes.sizeof(self._rules)
        return [(operations.COPY, self.context.rules, ctypes.addressof(self._rules), size)]

    def delete_service(self, body: dict[str, Any]) -> None:
        """Remove a service; its connections go on until they time out."""
        number = body["id"]
        if not 0 <= number < service.MAX_SERVICES:
            raise ApplyError(f"service id {number} out of range")
        gone = self.service_dests.get(number, [])
        self._run(
            "",
            *self._change_rules(number, 0, None),
            (operations.SERVICE_DELETE, number),
            *((operations.DEST_DELETE, dest) for dest in gone),
        )
        self.service_dests.pop(number, None)
