"""Datagrams of which fragments are passing: what is known of each, which parts were seen.

A fragment behind the first has no ports.  The first one leaves them here, together with what
became of it; fragments that come before the first wait here, a few and not for long, and an SCTP
packet's first one itself until the last tells how long the packet is.  The parts
seen are kept exactly, so no byte of a datagram is ever forwarded twice (RFC 1858, 3128, 5722).
"""

from __future__ import annotations

import ctypes

from ipvs.context import Ipvs
from ipvs.drops import (
    FRAG_DUPLICATE,
    FRAG_EVICTED,
    FRAG_MANY,
    FRAG_OVERLAP,
    FRAG_QUEUE,
    FRAG_TIMEOUT,
)
from ipvs.entry import tuple_hash
from ipvs.index import SEED_AT
from netdev.abi import Mbuf
from runtime.jit import compiled
from runtime.pointers import view
from stack.context import Stack
from stack.neigh import drop

SETS = 256
WAYS = 4
PARTS = 128  # 64 KB in fragments of 512 bytes
LIFE_MS = 2000  # since the last fragment: they leave their sender together
WAIT_EACH = 48  # 64 KB in frames of 1500 bytes, the first one last
WAIT_ALL = 256  # packets of the pool that fragments without a first one may hold

FREE, WAITING, KNOWN, AWAY, REFUSED = range(5)


class PartStruct(ctypes.Structure):
    """One fragment seen: bytes ``begin`` to ``end`` of the datagram's content."""

    _fields_ = [("begin", ctypes.c_uint16), ("end", ctypes.c_uint16)]


class DatagramStruct(ctypes.Structure):
    """One datagram, 640 bytes."""

    _fields_ = [
        ("addresses", ctypes.c_int64 * 4),  # source and destination as on the wire
        ("key", ctypes.c_int64),  # identification, protocol (IPv4) from bit 32, version from bit 40
        ("ports", ctypes.c_int64),  # as in the connection's side; of the first fragment
        ("waiting", ctypes.c_int64),  # first waiting mbuf, chained through mbuf.tx_offload
        ("last", ctypes.c_int64),  # last waiting mbuf
        ("seen", ctypes.c_uint32),  # ms of the last fragment taken
        ("state", ctypes.c_uint8),
        ("handed", ctypes.c_uint8),  # the first waiting mbuf came from another worker
        ("owner", ctypes.c_uint16),  # AWAY: worker that the fragments are handed to
        ("hops", ctypes.c_uint32),  # AWAY: what their mbufs say then, see ipvs/seek.py
        ("waiting_count", ctypes.c_uint16),
        ("count", ctypes.c_uint16),  # of parts
        ("end", ctypes.c_uint32),  # of the content, 0 while the last fragment was not seen
        ("high", ctypes.c_uint32),  # highest end of a part
        ("got", ctypes.c_uint32),  # bytes in all parts
        # Not 0: the first waiting mbuf is the first fragment, its ports so far behind its begin.
        ("held", ctypes.c_uint32),
        ("pad", ctypes.c_uint8 * 32),
        ("part", PartStruct * PARTS),
    ]


class DatagramsStruct(ctypes.Structure):
    """All datagrams of a worker: a hash table of sets, no chains to grow."""

    _fields_ = [
        ("waiting", ctypes.c_int64),  # packets in all queues
        ("cursor", ctypes.c_int64),  # of the ageing sweep
        ("pad", ctypes.c_int64 * 6),
        ("datagram", DatagramStruct * (SETS * WAYS)),
    ]


Datagram = view(DatagramStruct)
Datagrams = view(DatagramsStruct)
DATAGRAM_SIZE = ctypes.sizeof(DatagramStruct)
DATAGRAMS_AT = DatagramsStruct.datagram.offset
if DATAGRAM_SIZE != 640:
    raise AssertionError(f"datagram record is {DATAGRAM_SIZE} bytes")


@compiled
def _age(ipvs, datagram):
    """Milliseconds since a fragment of it was taken."""
    return (Stack(Ipvs(ipvs).stack).now - Datagram(datagram).seen) & 0xFFFFFFFF


@compiled
def take_waiting(ipvs, datagram):
    """First mbuf of the queue, off it, or 0."""
    d = Datagram(datagram)
    mbuf = d.waiting
    if mbuf == 0:
        return 0
    d.waiting = Mbuf(mbuf).tx_offload
    Mbuf(mbuf).tx_offload = 0
    d.waiting_count -= 1
    Datagrams(Ipvs(ipvs).datagrams).waiting -= 1
    return mbuf


@compiled
def drop_waiting(ipvs, datagram, reason):
    """Drop the whole queue."""
    mbuf = take_waiting(ipvs, datagram)
    while mbuf != 0:
        drop(Ipvs(ipvs).stack, mbuf, reason)
        mbuf = take_waiting(ipvs, datagram)
    return 0


@compiled
def has_room(ipvs, datagram):
    """1 when one more fragment may wait."""
    full = Datagram(datagram).waiting_count >= WAIT_EACH
    return 0 if full or Datagrams(Ipvs(ipvs).datagrams).waiting >= WAIT_ALL else 1


@compiled
def hold_first(ipvs, datagram, mbuf, handed, l4):
    """Let the first fragment, ports ``l4`` bytes behind its frame's begin, wait for the last one;
    0 or a drop reason."""
    if has_room(ipvs, datagram) == 0:
        return FRAG_QUEUE
    d = Datagram(datagram)
    Mbuf(mbuf).tx_offload = d.waiting
    if d.waiting == 0:
        d.last = mbuf
    d.waiting = mbuf
    d.held = l4
    d.handed = handed
    d.waiting_count += 1
    Datagrams(Ipvs(ipvs).datagrams).waiting += 1
    return 0


@compiled
def wait(ipvs, datagram, mbuf):
    """Let a fragment wait until the first one went its way; 0 or a drop reason."""
    if has_room(ipvs, datagram) == 0:
        return FRAG_QUEUE
    d = Datagram(datagram)
    t = Datagrams(Ipvs(ipvs).datagrams)
    Mbuf(mbuf).tx_offload = 0
    if d.waiting == 0:
        d.waiting = mbuf
    else:
        Mbuf(d.last).tx_offload = mbuf
    d.last = mbuf
    d.waiting_count += 1
    t.waiting += 1
    return 0


@compiled
def forget(ipvs, datagram, reason):
    """Free a record; packets that wait in it are dropped for ``reason``."""
    drop_waiting(ipvs, datagram, reason)
    Datagram(datagram).state = FREE
    return 0


@compiled
def _is(datagram, a0, a1, a2, a3, key):
    d = Datagram(datagram)
    if d.state == FREE or d.key != key or d.addresses[0] != a0 or d.addresses[1] != a1:
        return 0
    return 1 if (d.addresses[2] == a2 and d.addresses[3] == a3) else 0


@compiled
def _begin(ipvs, datagram, a0, a1, a2, a3, key):
    d = Datagram(datagram)
    d.addresses[0] = a0
    d.addresses[1] = a1
    d.addresses[2] = a2
    d.addresses[3] = a3
    d.key = key
    d.waiting = 0
    d.waiting_count = 0
    d.held = 0
    d.count = 0
    d.end = 0
    d.high = 0
    d.got = 0
    d.state = WAITING
    d.seen = Stack(Ipvs(ipvs).stack).now
    return datagram


@compiled
def datagram_of(ipvs, a0, a1, a2, a3, key):
    """The record of a datagram, made if new: of its set a free one, else the oldest."""
    w = Ipvs(ipvs)
    seed = w.index + SEED_AT
    hashed = tuple_hash(seed, a0, key)
    hashed = tuple_hash(seed, hashed ^ a1, a2)
    hashed = tuple_hash(seed, hashed, a3)
    first = w.datagrams + DATAGRAMS_AT + (hashed & (SETS - 1)) * WAYS * DATAGRAM_SIZE
    chosen = first
    oldest = -1
    for way in range(WAYS):
        at = first + way * DATAGRAM_SIZE
        age = _age(ipvs, at)
        if Datagram(at).state != FREE and age >= LIFE_MS:
            forget(ipvs, at, FRAG_TIMEOUT)
        if _is(at, a0, a1, a2, a3, key):
            return at
        if Datagram(at).state == FREE:
            age = 0x100000000
        if age > oldest:
            oldest = age
            chosen = at
    forget(ipvs, chosen, FRAG_EVICTED)
    return _begin(ipvs, chosen, a0, a1, a2, a3, key)


@compiled
def take_part(ipvs, datagram, begin, end, more):
    """Note that bytes ``begin`` to ``end`` came, ``more`` 0 in the last fragment; 0 or a reason."""
    d = Datagram(datagram)
    for i in range(d.count):
        part = d.part[i]
        if part.begin == begin and part.end == end:
            return FRAG_DUPLICATE
        if part.begin < end and begin < part.end:
            return FRAG_OVERLAP
    if d.end != 0 and (end > d.end or more == 0):
        return FRAG_OVERLAP
    if more == 0 and end < d.high:
        return FRAG_OVERLAP
    if d.count >= PARTS:
        return FRAG_MANY
    part = d.part[d.count]
    part.begin = begin
    part.end = end
    d.count += 1
    d.got += end - begin
    if end > d.high:
        d.high = end
    if more == 0:
        d.end = end
    d.seen = Stack(Ipvs(ipvs).stack).now
    return 0


@compiled
def is_complete(datagram):
    """1 when every byte was seen: the identification may be used again (RFC 6864)."""
    d = Datagram(datagram)
    return 1 if (d.end != 0 and d.got == d.end) else 0


@compiled
def age_datagrams(ipvs, budget):
    """Look at up to ``budget`` records for packets that waited too long."""
    t = Datagrams(Ipvs(ipvs).datagrams)
    if t.waiting == 0:
        return 0
    for _ in range(budget):
        at = t.ptr + DATAGRAMS_AT + t.cursor * DATAGRAM_SIZE
        t.cursor = (t.cursor + 1) & (SETS * WAYS - 1)
        if Datagram(at).waiting != 0 and _age(ipvs, at) >= LIFE_MS:
            forget(ipvs, at, FRAG_TIMEOUT)
    return 0
