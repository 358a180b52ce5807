"""Invariants of a worker, checked by the fuzzer between bursts; and that nothing is left at last.

Everything is counted from the raw memory, not by the code under test.
"""

from __future__ import annotations

import ctypes
from typing import Any

from ipvs.datagrams import SETS, WAYS, Datagrams
from ipvs.dest import STATS_SIZE, DestStats
from ipvs.entry import HASHED1, LIVE, Entry
from ipvs.index import BUCKET_SIZE, SLOTS, Bucket
from ipvs.laddr import LADDR_STATS_SIZE, LaddrStats
from ipvs.table import Table, entry_of
from netdev.port import Port
from stack.neigh import NeighbourTable
from tools.fuzz_rig import FuzzRig, require
from tools.fuzz_services import DESTS, LADDRS, SERVERS_EACH

# Counted besides a packet's own fate: control packets and addresses that were not sent.
NOT_PACKETS = ("no_mbuf", "icmp_rate", "toa_room", "uoa_room", "template_full")


def waiting(rig: FuzzRig) -> int:
    """Packets in the queues of all neighbours and of fragmented datagrams."""
    neighbours: Any = NeighbourTable(rig.stack.neighbours)
    datagrams: Any = Datagrams(rig.context.datagrams)
    held = sum(int(datagrams.datagram[i].waiting_count) for i in range(SETS * WAYS))
    require(held == datagrams.waiting, f"{datagrams.waiting} fragments wait, {held} in queues")
    return held + sum(int(neighbours.entry[i].waiting) for i in range(neighbours.count))


def live(rig: FuzzRig) -> list[Any]:
    """Pointers to all live connection entries."""
    high = Table(rig.table).high
    entries = (Entry(entry_of(rig.table, number)) for number in range(1, high + 1))
    return [entry for entry in entries if entry.live == LIVE]


def kept(rig: FuzzRig) -> list[Any]:
    """Connections that fragmented datagrams to one-packet services keep: in no index, untimed."""
    t: Any = Datagrams(rig.context.datagrams)
    records = (t.datagram[i] for i in range(SETS * WAYS))
    found = [Entry(entry_of(rig.table, d.kept >> 1)) for d in records if d.state and d.kept]
    require(len(found) == t.kept, f"{t.kept} connections kept, {len(found)} found")
    return found


def references(rig: FuzzRig) -> list[int]:
    """All references in the connection index."""
    index: Any = Table(rig.table).index
    size = index.count * BUCKET_SIZE
    words = (ctypes.c_uint8 * size).from_address(index.buckets)
    found: list[int] = []
    for at in range(0, size, BUCKET_SIZE):
        if any(words[at : at + 2 * SLOTS]):
            bucket: Any = Bucket(index.buckets + at)
            found += [bucket.reference[i] for i in range(SLOTS) if bucket.tag[i]]
    return found


def opened(rig: FuzzRig) -> set[int]:
    """Numbers of the services that connections were opened of."""
    stats = (DestStats(rig.context.dest_stats + i * STATS_SIZE) for i in range(DESTS))
    return {number // SERVERS_EACH for number, dest in enumerate(stats) if dest.conns}


def check_packets(rig: FuzzRig) -> None:
    """Every mbuf is free or waits for a neighbour; every packet was sent or dropped by name."""
    pool = rig.pool
    held = waiting(rig)
    require(sum(pool.out) == held, f"{sum(pool.out)} mbufs out, {held} packets waiting")
    require(len(pool.free) + held == pool.count, "free list of mbufs has another length")
    received = sum(port.received for port in rig.ports)
    sent = sum(port.transmitted for port in rig.ports)
    total = received + pool.allocated
    require(total == sent + pool.freed + held, f"{total=} {sent=} {pool.freed=} {held=}")
    drops = rig.drops()
    refused = sum(int(Port(rig.stack.ports[port.index]).tx_dropped) for port in rig.ports)
    named = sum(n for name, n in drops.items() if name not in NOT_PACKETS) + refused
    # A full neighbour table is also counted when an ARP packet could not be learnt from.
    extra = drops.get("neigh_full", 0)
    require(pool.freed <= named <= pool.freed + extra, f"{pool.freed} freed, {named} named")


def check_connections(rig: FuzzRig) -> int:
    """Counts of connections agree wherever they are kept; returns how many there are."""
    entries = live(rig)
    t: Any = Table(rig.table)
    require(t.wheel.armed == len(entries), f"{t.wheel.armed} timers, {len(entries)} live entries")
    sides = sum(2 if entry.flags & HASHED1 else 1 for entry in entries)
    found = references(rig)
    require(len(found) == len(set(found)) == sides, f"{len(found)} references, {sides} sides")
    entries += kept(rig)
    require(t.count == len(entries), f"count {t.count}, {len(entries)} entries in use")
    used = [0] * len(LADDRS)
    for entry in entries:
        if entry.laddr:
            used[entry.laddr - 1] += 1
    for number in range(len(LADDRS)):
        stats: Any = LaddrStats(rig.context.laddr_stats + number * LADDR_STATS_SIZE)
        text = f"local address {number}: {stats.used} ports used, {used[number]} held"
        require(stats.used == used[number] and stats.used + stats.free == 64511, text)
    tuples = {(e.side[1].addresses, e.side[1].ports) for e in entries if e.flags & HASHED1}
    both = len([e for e in entries if e.flags & HASHED1])
    require(len(tuples) == both, "two connections share a tuple on the server's side")
    dests = [DestStats(rig.context.dest_stats + i * STATS_SIZE) for i in range(DESTS)]
    counted = sum(d.active + d.inactive for d in dests)
    require(counted == len(entries), f"real servers count {counted}, {len(entries)} in use")
    require(min(min(d.active, d.inactive) for d in dests) >= 0, "a count below zero")
    return len(entries)


def check_nothing_left(rig: FuzzRig) -> None:
    """After everything expired: no connection, no port, no mbuf is still held."""
    for _ in range(4000):
        rig.step(1000)
        if Table(rig.table).count == 0 and not sum(rig.pool.out):
            break
    check_packets(rig)
    left = check_connections(rig)
    require(left == 0, f"{left} connections never expire")
    require(not sum(rig.pool.out), f"{sum(rig.pool.out)} mbufs never come back")
    require(not references(rig), "references to connections that are gone")
    require(rig.pool.guards(), "somebody wrote behind an mbuf")
