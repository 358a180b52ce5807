"""The table of fragmented datagrams: find a record, make one, give it up in time.

A datagram is given up when it is complete, overlaps, or no fragment of it came for LIFE_MS; when
its set is full the oldest is.
"""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.datagram_queue import drop_waiting
from ipvs.datagrams import (
    DATAGRAM_SIZE,
    DATAGRAMS_AT,
    FREE,
    LIFE_MS,
    REFUSED,
    SETS,
    WAITING,
    WAYS,
    Datagram,
    Datagrams,
)
from ipvs.drops import FRAG_EVICTED, FRAG_REFUSED, FRAG_TIMEOUT
from ipvs.entry import tuple_hash
from ipvs.index import SEED_AT
from ipvs.one_packet import end_kept
from runtime.jit import compiled
from stack.context import Stack


@compiled
def _age(ipvs, datagram):
    """Milliseconds since a fragment of it was taken."""
    return (Stack(Ipvs(ipvs).stack).now - Datagram(datagram).seen) & 0xFFFFFFFF


@compiled
def forget(ipvs, datagram, reason):
    """Free a record; packets that wait in it are dropped for ``reason``."""
    drop_waiting(ipvs, datagram, reason)
    end_kept(ipvs, datagram)
    Datagram(datagram).state = FREE
    return 0


@compiled
def refuse(ipvs, datagram, reason):
    """No fragment of a datagram is forwarded any more (RFC 5722); the reason."""
    drop_waiting(ipvs, datagram, FRAG_REFUSED)
    end_kept(ipvs, datagram)
    Datagram(datagram).state = REFUSED
    return reason


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
    d.kept = 0
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
def age_datagrams(ipvs, budget):
    """Look at up to ``budget`` records for packets that waited, or connections that were kept, too
    long."""
    t = Datagrams(Ipvs(ipvs).datagrams)
    if t.waiting == 0 and t.kept == 0:
        return 0
    for _ in range(budget):
        at = t.ptr + DATAGRAMS_AT + t.cursor * DATAGRAM_SIZE
        t.cursor = (t.cursor + 1) & (SETS * WAYS - 1)
        d = Datagram(at)
        if (d.waiting != 0 or d.kept != 0) and _age(ipvs, at) >= LIFE_MS:
            forget(ipvs, at, FRAG_TIMEOUT)
    return 0
