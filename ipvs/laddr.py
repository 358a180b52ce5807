"""Local addresses of FullNAT and their port pools (the reference's "sapool").

A pool is replicated: the replica is chosen by the real server's address and port, so one local
port serves connections to different servers at once.  Each replica is a FIFO of free ports, so a
port comes back into use as late as possible.
"""

from __future__ import annotations

import ctypes

from ipvs.rss import PORT_AT, PORT_AT6, Rss, rss_hash, rss_hash6, with_port
from runtime.intrinsics import load8, load16, store16
from runtime.jit import compiled
from runtime.pointers import view

MAX_LADDRS = 1024
FIRST_PORT = 1025
LAST_PORT = 65535
RING = 65536
LADDR_STATS_SIZE = 32
PORTS_OF_ONE = LAST_PORT - FIRST_PORT + 1


class ReplicaStruct(ctypes.Structure):
    """Counters of one FIFO: ports ever taken out and put in; their difference is the fill."""

    _fields_ = [("taken", ctypes.c_int64), ("given", ctypes.c_int64)]


class LaddrStruct(ctypes.Structure):
    """One local address."""

    _fields_ = [
        ("address", ctypes.c_uint32),  # host order, 0 = IPv6
        ("port", ctypes.c_uint16),  # our port index
        ("present", ctypes.c_uint16),
        ("replicas", ctypes.c_int64),  # how many, a power of two
        ("heads", ctypes.c_int64),  # address of ReplicaStruct[replicas]
        ("rings", ctypes.c_int64),  # address of uint16[replicas][RING]
        ("rss_known", ctypes.c_int64),  # ports are chosen by the hash of the return packet
        ("high", ctypes.c_int64),  # IPv6 address, raw halves
        ("low", ctypes.c_int64),
    ]


class LaddrStatsStruct(ctypes.Structure):
    """Counters of one local address in one worker (shared memory)."""

    _fields_ = [
        ("used", ctypes.c_int64),
        ("free", ctypes.c_int64),
        ("miss", ctypes.c_int64),
        ("spare", ctypes.c_int64),
    ]


Laddr = view(LaddrStruct)
LaddrStats = view(LaddrStatsStruct)
Replica = view(ReplicaStruct)
LADDR_SIZE = ctypes.sizeof(LaddrStruct)
REPLICA_SIZE = ctypes.sizeof(ReplicaStruct)


def pool_bytes(replicas: int) -> int:
    """Memory of the pools of one local address."""
    return replicas * (REPLICA_SIZE + RING * 2)


@compiled
def owner_shift(workers):
    """ceil(log2 workers): so many low bits of a local port name its worker."""
    shift = 0
    while (1 << shift) < workers:
        shift += 1
    return shift


@compiled
def fill_pools(laddr, stats, memory, replicas, worker, workers, rss_known, marks):
    """Lay out the pools in ``memory`` with every port this worker may use; returns how many.

    ``marks`` (uint8[replicas][65536], or 0) tells the ports that connections found at start hold.
    Without RSS knowledge worker k owns the ports whose low bits are k; with it, any port may be
    taken whose return packets hash to a queue of this worker.
    """
    a = Laddr(laddr)
    a.replicas = replicas
    a.heads = memory
    a.rings = memory + replicas * REPLICA_SIZE
    a.rss_known = rss_known
    mask = (1 << owner_shift(workers)) - 1
    total = 0
    held = 0
    for r in range(replicas):
        ring = a.rings + r * RING * 2
        count = 0
        for port in range(FIRST_PORT, LAST_PORT + 1):
            if marks != 0 and load8(marks + r * RING + port):
                held += 1
            elif rss_known or port & mask == worker:
                store16(ring + count * 2, port)
                count += 1
        head = Replica(memory + r * REPLICA_SIZE)
        head.taken = 0
        head.given = count
        total += count
    s = LaddrStats(stats)
    s.used = held
    s.free = total
    return total


@compiled
def replica_of(laddr, address, port):
    """Replica for a real server (host-order port and address, of IPv6 the last 32 bits)."""
    return ((address & 0xFFFF) + port) & (Laddr(laddr).replicas - 1)


@compiled
def _take(laddr, stats, rss, replica, hashed, position, worker):
    """A free local port, or 0; ``hashed``: RSS hash of a reply to port 0, see rss.with_port.

    With RSS knowledge ports that would return to another worker go back to the tail; as many are
    tried as make a miss with free ports left improbable.
    """
    a = Laddr(laddr)
    s = LaddrStats(stats)
    head = Replica(a.heads + replica * REPLICA_SIZE)
    ring = a.rings + replica * RING * 2
    tries = head.given - head.taken
    if a.rss_known and tries > 1024:
        tries = 1024
    for _ in range(tries):
        port = load16(ring + (head.taken & (RING - 1)) * 2)
        head.taken += 1
        owner = worker
        if a.rss_known:
            reta = Rss(rss).port[a.port]
            owner = reta.queue[with_port(rss, hashed, position, port) & (reta.size - 1)]
        if owner == worker:
            s.used += 1
            s.free -= 1
            return port
        store16(ring + (head.given & (RING - 1)) * 2, port)
        head.given += 1
    s.miss += 1
    return 0


@compiled
def take_port(laddr, stats, rss, replica, daddr, dport, worker):
    """A free local port towards IPv4 real server (daddr, dport), or 0."""
    a = Laddr(laddr)
    hashed = 0
    if a.rss_known:
        hashed = rss_hash(rss, daddr, a.address, dport, 0)
    return _take(laddr, stats, rss, replica, hashed, PORT_AT, worker)


@compiled
def take_port6(laddr, stats, rss, replica, at, dport, worker):
    """The same for IPv6: ``at`` holds the server's and the local address as replies carry them,
    ``dport`` is in network order."""
    hashed = 0
    if Laddr(laddr).rss_known:
        hashed = rss_hash6(rss, at, dport)
    return _take(laddr, stats, rss, replica, hashed, PORT_AT6, worker)


@compiled
def take_identifier(laddr, stats, replica, worker, workers):
    """A free number whose low bits name this worker, or 0.

    For ICMP, which has no ports that a NIC could hash: an answer is handed to the worker that its
    identifier names.
    """
    a = Laddr(laddr)
    s = LaddrStats(stats)
    head = Replica(a.heads + replica * REPLICA_SIZE)
    ring = a.rings + replica * RING * 2
    mask = (1 << owner_shift(workers)) - 1
    for _ in range(head.given - head.taken):
        port = load16(ring + (head.taken & (RING - 1)) * 2)
        head.taken += 1
        if port & mask == worker:
            s.used += 1
            s.free -= 1
            return port
        store16(ring + (head.given & (RING - 1)) * 2, port)
        head.given += 1
    s.miss += 1
    return 0


@compiled
def give_port(laddr, stats, replica, port):
    """Return a port to the tail of its replica.

    Nothing happens when this worker has no such pool: it may have begun, on the connections of a
    dead worker, after the address was removed.
    """
    a = Laddr(laddr)
    if replica >= a.replicas:
        return 0
    head = Replica(a.heads + replica * REPLICA_SIZE)
    store16(a.rings + replica * RING * 2 + (head.given & (RING - 1)) * 2, port)
    head.given += 1
    s = LaddrStats(stats)
    s.used -= 1
    s.free += 1
    return 0
