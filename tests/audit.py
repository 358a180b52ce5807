"""Check a worker's connection table against itself: index, wheel, free chain, counts, ports.

Everything but the entries is derived from the entries, so all of it can be computed again and
compared.  For tests and the fuzzer: it takes milliseconds per thousand connections.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy

from ipvs.context import Ipvs
from ipvs.datagrams import DATAGRAMS_AT, SETS, WAYS, Datagrams, DatagramStruct
from ipvs.dest import MAX_DESTS, STATS_SIZE, DestStats, DestStatsStruct
from ipvs.entry import ACTIVE, HASHED1, LIVE, MODE_SNAT, WIDE, EntryStruct
from ipvs.index import BUCKET_SIZE, SLOTS, BucketStruct, find, home, tag_of
from ipvs.laddr import (
    LADDR_SIZE,
    LADDR_STATS_SIZE,
    MAX_LADDRS,
    REPLICA_SIZE,
    RING,
    Laddr,
    LaddrStats,
    LaddrStruct,
    Replica,
)
from ipvs.table import INDEX_AT, WHEEL_AT, Table, hash_side
from runtime import wheel


def numbers(address: int, kind: Any, count: int) -> Any:
    """``count`` numbers at an address as a numpy array."""
    return numpy.ctypeslib.as_array((kind * count).from_address(address))


class Audit:
    """One examination; ``problems`` says in words what does not agree."""

    def __init__(self, ipvs: int) -> None:
        self.problems: list[str] = []
        self.w = Ipvs(ipvs)
        self.table = Table(self.w.table)
        self.links = (ctypes.c_uint32 * (2 * (self.table.capacity + 1))).from_address(
            self.table.links
        )
        entries = (EntryStruct * (self.table.high + 1)).from_address(self.table.entries)
        self.live = {n: e for n, e in enumerate(entries) if n and e.live == LIVE}
        self.kept = {n: entries[n] for n in self._kept()}  # of datagrams: in no index, on no wheel
        self.taken = self.live | self.kept
        self._chains()
        self._index()
        self._counts()
        self._ports()

    def _say(self, agrees: bool, text: str) -> None:
        if not agrees:
            self.problems.append(text)

    def _kept(self) -> list[int]:
        table = Datagrams(self.w.datagrams)
        records = (DatagramStruct * (SETS * WAYS)).from_address(table.ptr + DATAGRAMS_AT)
        found = [record.kept >> 1 for record in records if record.state and record.kept]
        self._say(table.kept == len(found), f"kept counts {table.kept}, has {found}")
        self._say(len(set(found)) == len(found), "two datagrams keep one connection")
        self._say(not set(found) & set(self.live), "a connection is kept and live")
        return found

    def _free(self) -> Iterator[int]:
        number, steps = self.table.free, 0
        while number and steps <= self.table.capacity:
            yield number
            number, steps = self.links[2 * number], steps + 1

    def _pairs(self) -> Iterator[int]:
        number, steps = self.table.pairs, 0
        while number and steps <= self.table.capacity:
            self._say(number % 2 == 0, f"pair {number} is not an even entry")
            yield number
            number, steps = self.links[2 * number], steps + 1

    def _armed(self) -> Iterator[int]:
        heads = wheel.Wheel(self.w.table + WHEEL_AT).heads
        for slot in range(wheel.SLOTS):
            number, before, steps = heads[slot], wheel._HEAD | slot, 0
            while number and steps <= self.table.capacity:
                self._say(self.links[2 * number + 1] == before, f"wheel link back of {number}")
                yield number
                number, before, steps = self.links[2 * number], number, steps + 1

    def _chains(self) -> None:
        free, armed = list(self._free()), list(self._armed())
        marked = {n for n in range(1, self.table.high + 1) if self.links[2 * n + 1] >> 30 == 1}
        self._say(marked == set(free), f"marked free {sorted(marked)} chained {sorted(free)}")
        free += [n + half for n in self._pairs() for half in (0, 1)]
        self._say(len(set(free)) == len(free), "free chain holds an entry twice")
        self._say(len(set(armed)) == len(armed), "wheel holds an entry twice")
        self._say(set(armed) == set(self.live), f"wheel {sorted(armed)} live {sorted(self.live)}")
        taken = set(self.taken) | {n - 1 for n, e in self.taken.items() if e.flags & WIDE}
        used = set(range(1, self.table.high + 1))
        self._say(set(free) == used - taken, "free chains are not the rest of the entries")
        self._say(self.table.count == len(self.taken), f"count {self.table.count}")
        counted = wheel.Wheel(self.w.table + WHEEL_AT).armed
        self._say(counted == len(armed), f"wheel counts {counted}, holds {len(armed)}")

    def _index(self) -> None:
        index = self.table.index
        count, base = index.count, index.buckets
        buckets = (BucketStruct * count).from_address(base)
        passed = [0] * count
        found = set()
        for number, bucket in enumerate(buckets):
            for slot in range(SLOTS):
                if bucket.tag[slot] == 0:
                    continue
                reference = bucket.reference[slot]
                self._say(reference not in found, f"reference {reference} twice in the index")
                found.add(reference)
                hashed = hash_side(self.w.table, reference >> 1, reference & 1)
                self._say(bucket.tag[slot] == tag_of(hashed), f"tag of {reference}")
                at = (home(self.w.table + INDEX_AT, hashed) - base) // BUCKET_SIZE
                while at != number:
                    passed[at] += 1
                    at = (at + 1) % count
        wanted = {2 * n for n in self.live}
        wanted |= {2 * n + 1 for n, e in self.live.items() if e.flags & HASHED1}
        self._say(found == wanted, f"index has {found - wanted} too much, lacks {wanted - found}")
        overflows = [bucket.overflow for bucket in buckets]
        self._say(overflows == passed, "overflow counts of the index")
        for reference in wanted & found:
            self._say(self._finds(reference) == reference, f"{reference} is not found")

    def _finds(self, reference: int) -> int:
        side = self.live[reference >> 1].side[reference & 1]
        index = self.w.table + INDEX_AT
        hashed = hash_side(self.w.table, reference >> 1, reference & 1)
        return int(find(index, home(index, hashed), tag_of(hashed), side.addresses, side.ports))

    def _counts(self) -> None:
        active = Counter(e.dest for e in self.taken.values() if e.flags & ACTIVE)
        inactive = Counter(e.dest for e in self.taken.values() if not e.flags & ACTIVE)
        size = MAX_DESTS * STATS_SIZE // 8
        words = numbers(self.w.dest_stats, ctypes.c_int64, size)
        rows = words.reshape(MAX_DESTS, -1)
        at = DestStatsStruct.active.offset // 8
        concerned = set(numpy.nonzero(rows[:, at] | rows[:, at + 1])[0].tolist())
        for dest in concerned | set(active) | set(inactive):
            stats = DestStats(self.w.dest_stats + dest * STATS_SIZE)
            got = (stats.active, stats.inactive)
            self._say(got == (active[dest], inactive[dest]), f"real server {dest} counts {got}")

    def _ports(self) -> None:
        held: dict[int, Counter[tuple[int, int]]] = {}
        for entry in self.taken.values():
            if entry.laddr:
                side = 0 if entry.mode == MODE_SNAT else 1
                port = int.from_bytes(entry.side[side].ports.to_bytes(8, "little")[2:4], "big")
                held.setdefault(entry.laddr - 1, Counter())[entry.replica, port] += 1
        size = MAX_LADDRS * LADDR_SIZE // 8
        words = numbers(self.w.laddrs, ctypes.c_int64, size)
        replicas = words.reshape(MAX_LADDRS, -1)[:, LaddrStruct.replicas.offset // 8]
        for number in numpy.nonzero(replicas)[0].tolist():
            pool = Laddr(self.w.laddrs + number * LADDR_SIZE)
            self._pool(number, pool, held.get(number, Counter()))

    def _pool(self, number: int, pool: Any, held: Counter[tuple[int, int]]) -> None:
        who = f"local address {number}"
        self._say(max(held.values(), default=1) == 1, f"{who}: ports held twice")
        free = 0
        for replica in range(pool.replicas):
            head = Replica(pool.heads + replica * REPLICA_SIZE)
            ring = numbers(pool.rings + replica * RING * 2, ctypes.c_uint16, RING)
            times = numpy.bincount(ring[numpy.arange(head.taken, head.given) & (RING - 1)])
            self._say(times.max(initial=0) <= 1, f"{who}: ports free twice")
            both = [port for r, port in held if r == replica and port < len(times) and times[port]]
            self._say(not both, f"{who}: ports {both} both held and free")
            free += head.given - head.taken
        stats = LaddrStats(self.w.laddr_stats + number * LADDR_STATS_SIZE)
        got = (stats.used, stats.free)
        wanted = (sum(1 for replica, _ in held if replica < pool.replicas), free)
        self._say(got == wanted, f"{who} counts {got}, has {wanted}")


def audit(ipvs: int) -> list[str]:
    """What is inconsistent in the worker at ``ipvs``; an empty list when all is well."""
    return Audit(ipvs).problems
