"""Neighbours of one worker: address on a port -> ready Ethernet header, both families.

States follow the reference (NONE, SEND, REACHABLE, PROBE, DELAY); connections refer to entries by
number, so a changed MAC is used by the very next packet of every connection.  An entry that is
used but hears nothing back is probed within seconds instead of being trusted for a minute.
"""

from __future__ import annotations

import ctypes

from netdev.abi import Mbuf
from netdev.mbuf import data_of, free_one
from netdev.port import Port, transmit
from runtime.intrinsics import GOLDEN, load64, shr, store16, store64, times
from runtime.jit import compiled, inlined
from runtime.pointers import view
from stack.context import Stack, bump_generation
from stack.drops import NEIGH_FAILED, NEIGH_QUEUE

NEIGHBOURS = 4096
BUCKETS = 2048

NONE, SEND, REACHABLE, PROBE, DELAY = range(5)
STATE_NAMES = ("NONE", "SEND", "REACHABLE", "PROBE", "DELAY")
USABLE = 2  # states from here on have a MAC that packets are sent to

SEND_RETRY_MS = 1000  # between requests while unresolved
SEND_GIVE_UP_MS = 3000  # facts: SEND lasts 3 s, then waiting packets are dropped
SILENCE_MS = 2000  # used this long without hearing from it: ask again
DELAY_MS = 3000
EVICT_WINDOW = 64  # entries compared for the one to give up when the table is full
QUEUE_TOTAL = 2048  # packets waiting for neighbours in all: the rest of the pool is for traffic
PROBE_MS = 30000
LIMIT6 = NEIGHBOURS * 3 // 4  # IPv6 entries
NONE_LEFT, NONE_LEFT6 = 1, 2
TYPE_IPV4 = 0x0008  # EtherTypes as they lie in an entry's header
TYPE_IPV6 = 0xDD86


class NeighbourStruct(ctypes.Structure):
    """One neighbour, 64 bytes.  ``header``: destination MAC, source MAC, EtherType, as sent."""

    _fields_ = [
        ("header", ctypes.c_uint8 * 16),
        ("address", ctypes.c_uint32),  # host order; IPv6: a digest, see stack/neigh6.py
        ("port", ctypes.c_uint16),
        ("state", ctypes.c_uint8),
        ("permanent", ctypes.c_uint8),
        ("ipv6", ctypes.c_uint16),  # 1: the address lies in the table's ``address6``
        ("waiting", ctypes.c_uint16),  # packets in the queue
        ("next", ctypes.c_uint16),  # hash chain, entry number + 1
        ("used_entry", ctypes.c_uint16),  # 1 when the entry is in the table
        ("since", ctypes.c_uint32),  # ms, when the state was entered
        ("confirmed", ctypes.c_uint32),  # ms, last sign of life
        ("used", ctypes.c_uint32),  # ms, last packet sent to it
        ("asked", ctypes.c_uint32),  # ms, last request sent
        ("told", ctypes.c_uint32),  # ms, last event to the master
        ("queue", ctypes.c_int64),  # first waiting mbuf, chained through mbuf.tx_offload
    ]


class NeighbourTableStruct(ctypes.Structure):
    """All neighbours of a worker."""

    _fields_ = [
        ("count", ctypes.c_int64),
        ("cursor", ctypes.c_int64),  # of the ageing sweep
        ("reachable_ms", ctypes.c_int64),
        ("queue_limit", ctypes.c_int64),
        ("cursor_victim", ctypes.c_int64),  # where the next search for one to give up begins
        (
            "no_victim",
            ctypes.c_int64,
        ),  # NONE_LEFT bits: searches that found none since then
        ("waiting", ctypes.c_int64),  # packets in all queues
        ("seed", ctypes.c_int64),  # of the IPv6 digests: random, so that nobody aims at one bucket
        ("six", ctypes.c_int64),  # IPv6 entries
        ("heads", ctypes.c_uint16 * BUCKETS),
        ("entry", NeighbourStruct * NEIGHBOURS),
        ("address6", ctypes.c_int64 * (2 * NEIGHBOURS)),  # raw words of IPv6 entries' addresses
    ]


FORWARDED = 0x7F000006  # mbuf packet type of what is forwarded as it came; no driver sets it
Neighbour = view(NeighbourStruct)
NeighbourTable = view(NeighbourTableStruct)
ENTRIES_AT = NeighbourTableStruct.entry.offset
NEIGHBOUR_SIZE = ctypes.sizeof(NeighbourStruct)
if NEIGHBOUR_SIZE != 64:
    raise AssertionError(f"neighbour entry is {NEIGHBOUR_SIZE} bytes")


@compiled
def bucket_of(port, address):
    return shr(times(address | (port << 32), GOLDEN), 40) & (BUCKETS - 1)


@inlined
def entry_at(table, number):
    """Address of neighbour entry ``number``."""
    return table + ENTRIES_AT + number * NEIGHBOUR_SIZE


@compiled
def number_of(table, entry):
    """Entry number of a neighbour address."""
    return (entry - table - ENTRIES_AT) >> 6


@compiled
def find(table, port, address):
    """Address of the neighbour entry for ``address`` on port index ``port``, or 0."""
    t = NeighbourTable(table)
    number = t.heads[bucket_of(port, address)]
    while number != 0:
        n = Neighbour(entry_at(table, number - 1))
        if n.address == address and n.port == port and n.ipv6 == 0:
            return n.ptr
        number = n.next
    return 0


@compiled
def _unlink(table, entry):
    t = NeighbourTable(table)
    n = Neighbour(entry)
    wanted = number_of(table, entry) + 1
    bucket = bucket_of(n.port, n.address)
    number = t.heads[bucket]
    if number == wanted:
        t.heads[bucket] = n.next
        return 0
    while number != 0:
        before = Neighbour(entry_at(table, number - 1))
        if before.next == wanted:
            before.next = n.next
            return 0
        number = before.next
    return 0


@compiled
def _victim(stack, table, six):
    """Number of the entry (an IPv6 one if ``six``) to give up for another, or -1.

    The one longest out of use among the next few (an unresolved one before all others), never one
    that packets wait for or were sent to just now.  Looking at few, and not again at all before
    the next ageing when there was none, keeps a scan of addresses from making every packet search
    the whole table.
    """
    t = NeighbourTable(table)
    if t.no_victim & (NONE_LEFT | (NONE_LEFT6 if six else 0)):
        return -1
    best = -1
    longest = SILENCE_MS
    for step in range(NEIGHBOURS):
        if best >= 0 and step >= EVICT_WINDOW:
            break
        number = t.cursor_victim
        t.cursor_victim = (number + 1) & (NEIGHBOURS - 1)
        n = Neighbour(entry_at(table, number))
        idle = (Stack(stack).now - n.used) & 0xFFFFFFFF
        if n.state == NONE:
            idle += 0x100000000
        if six and n.ipv6 == 0:
            continue
        if n.waiting == 0 and n.permanent == 0 and idle > longest:
            best = number
            longest = idle
    if best < 0:
        t.no_victim = t.no_victim | (NONE_LEFT6 if six else NONE_LEFT)
    return best


@compiled
def _free_slot(stack, table, six):
    """Number of a slot to use, or -1; a full table gives up an entry for it.

    IPv6 entries (``six``) never take more than LIMIT6: whoever scans one of our /64 networks must
    not cost IPv4 its neighbours (RFC 6583).
    """
    t = NeighbourTable(table)
    own = 1 if (six and t.six >= LIMIT6) else 0
    if t.count < NEIGHBOURS and own == 0:
        number = t.count
        t.count += 1
        return number
    number = _victim(stack, table, own)
    if number >= 0:
        entry = entry_at(table, number)
        _unlink(table, entry)
        t.six -= Neighbour(entry).ipv6
        # Connections may hold this number: the new generation makes them look again.
        bump_generation(stack)
    return number


@compiled
def add(stack, port, address, six):
    """A new entry in state NONE, hashed by (port, address), an IPv6 one if ``six``; 0 when the
    table is full."""
    s = Stack(stack)
    table = s.neighbours
    number = _free_slot(stack, table, six)
    if number < 0:
        return 0
    t = NeighbourTable(table)
    n = Neighbour(entry_at(table, number))
    store64(n.ptr, 0)
    store64(n.ptr + 6, Port(s.ports[port]).mac)
    store16(n.ptr + 12, TYPE_IPV6 if six else TYPE_IPV4)
    n.ipv6 = six
    t.six += six
    n.address = address
    n.port = port
    n.state = NONE
    n.permanent = 0
    n.waiting = 0
    n.queue = 0
    n.used_entry = 1
    n.since = s.now
    n.confirmed = s.now
    n.used = s.now
    n.asked = s.now - 2 * SEND_RETRY_MS
    n.told = s.now - 10000
    bucket = bucket_of(port, address)
    n.next = t.heads[bucket]
    t.heads[bucket] = number + 1
    return n.ptr


@compiled
def find_or_add(stack, port, address):
    """Address of the entry for ``address`` on ``port``, made in state NONE if new; 0 when full."""
    found = find(Stack(stack).neighbours, port, address)
    if found != 0:
        return found
    return add(stack, port, address, 0)


@compiled
def count_drop(stack, reason):
    """Add one to a drop counter."""
    at = Stack(stack).drops + reason * 8
    store64(at, load64(at) + 1)
    return 0


@compiled
def drop(stack, mbuf, reason):
    """Count ``reason`` and free the packet."""
    count_drop(stack, reason)
    free_one(Stack(stack).calls, mbuf)
    return 0


@compiled
def send_to(stack, entry, mbuf):
    """Write the Ethernet header of a resolved neighbour and queue the frame for transmission.

    The packet's data starts at the (old) Ethernet header.
    """
    n = Neighbour(entry)
    data = data_of(mbuf)
    store64(data, load64(entry))
    store64(data + 6, load64(entry + 6))
    n.used = Stack(stack).now
    transmit(Stack(stack).ports[n.port], mbuf)
    return 0


@compiled
def enqueue(stack, entry, mbuf):
    """Let a packet wait for resolution; returns 0 or a drop reason."""
    n = Neighbour(entry)
    t = NeighbourTable(Stack(stack).neighbours)
    if n.waiting >= t.queue_limit or t.waiting >= QUEUE_TOTAL:
        return NEIGH_QUEUE
    Mbuf(mbuf).tx_offload = 0
    if n.queue == 0:
        n.queue = mbuf
    else:
        last = n.queue
        while Mbuf(last).tx_offload != 0:
            last = Mbuf(last).tx_offload
        Mbuf(last).tx_offload = mbuf
    n.waiting += 1
    t.waiting += 1
    return 0


@compiled
def release_queue(stack, entry, deliver):
    """Send (``deliver`` 1) or drop the waiting packets of an entry, oldest first."""
    n = Neighbour(entry)
    t = NeighbourTable(Stack(stack).neighbours)
    t.waiting -= n.waiting
    mbuf = n.queue
    n.queue = 0
    n.waiting = 0
    while mbuf != 0:
        following = Mbuf(mbuf).tx_offload
        Mbuf(mbuf).tx_offload = 0
        if deliver:
            send_to(stack, entry, mbuf)
        else:
            drop(stack, mbuf, NEIGH_FAILED)
        mbuf = following
    return 0


@compiled
def learn(stack, entry, mac):
    """``mac`` (48 bits as on the wire) answers for this neighbour: REACHABLE, queue sent.

    Returns 1 when something others should hear of changed (state or MAC).
    """
    s = Stack(stack)
    n = Neighbour(entry)
    if n.permanent != 0:
        return 0
    old = load64(entry) & 0xFFFFFFFFFFFF
    changed = 1 if (old != mac or n.state < USABLE) else 0
    store64(entry, mac | (load64(entry) & ~0xFFFFFFFFFFFF))
    n.state = REACHABLE
    n.since = s.now
    n.confirmed = s.now
    if n.queue != 0:
        release_queue(stack, entry, 1)
    return changed


@compiled
def tell(stack, entry, mac, permanent):
    """The MAC of a neighbour by the operator (permanent) or from another worker."""
    n = Neighbour(entry)
    if permanent:
        n.permanent = 0
    learn(stack, entry, mac)
    if permanent:
        n.permanent = 1
    return 0


@compiled
def remove(stack, entry):
    """Forget the MAC of a neighbour (its number stays, so connections can resolve it again)."""
    n = Neighbour(entry)
    release_queue(stack, entry, 0)
    n.state = NONE
    n.permanent = 0
    n.since = Stack(stack).now
    NeighbourTable(Stack(stack).neighbours).no_victim = 0
    return 0
