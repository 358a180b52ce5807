"""Persistence: all connections of a client network to a service go to one real server.

The first connection is scheduled and leaves a template (ipvs/templates.py); later ones, in whatever
worker, follow it.  Every connection gives its template the service's time anew, and a connection
that comes up in the timer wheel prolongs it until after its next time there: a template is never
gone before its connections, and nobody has to count those.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.dest import DEST_SIZE, Dest
from ipvs.drops import TEMPLATE_BUSY, TEMPLATE_FULL
from ipvs.entry import Entry
from ipvs.extra import Extra
from ipvs.pick import IPV6_SIDE, pick
from ipvs.service import Service, number_of
from ipvs.templates import (
    SLOTS,
    Bucket,
    Record,
    Templates,
    bucket_at,
    bucket_of,
    find,
    hash_of,
    lock,
    record_at,
    set_tag,
    tag_of,
    unlock,
    used_at,
)
from runtime.intrinsics import load64, store8, store64
from runtime.jit import compiled
from runtime.wheel import HORIZON
from stack.context import Stack
from stack.headers import ETHER_LEN, IP6_SRC
from stack.neigh import count_drop

LAG_MS = 3000  # a template lives longer than the connection that holds it, by this much
NEW = -1  # no server is named: there is no template, or one that may not be followed


@compiled
def is_alive(record, now):
    """1 until a template's time has passed."""
    left = (Record(record).expires - now) & 0xFFFFFFFF
    return 1 if 0 < left < 0x80000000 else 0


@compiled
def prolong(record, until):
    """Let a template live until a time in ms, if that is later than it would anyhow."""
    r = Record(record)
    if (until - r.expires) & 0xFFFFFFFF < 0x80000000:
        r.expires = until
    return 0


@compiled
def serves(ipvs, record):
    """1 when a template's real server may still be given connections of its service.

    One of weight 0 keeps its clients, unless expire_quiescent_template is set.
    """
    w = Ipvs(ipvs)
    r = Record(record)
    d = Dest(w.dests + r.dest * DEST_SIZE)
    if d.present == 0 or d.service != r.service + 1 or d.overload or d.inhibited:
        return 0
    return 1 if d.weight > 0 or w.template_quiescent == 0 else 0


@compiled
def count_template(ipvs, dest, by):
    """This worker's part in how many templates name a real server: all workers' parts add up."""
    at = Ipvs(ipvs).dest_templates + dest * 8
    store64(at, load64(at) + by)
    return 0


@compiled
def reference_of(bucket_number, slot):
    """What a connection notes about its template, never 0."""
    return ((bucket_number << 5) | slot) + 1


@compiled
def remove_template(ipvs, bucket, slot):
    """Free a slot of a locked bucket."""
    count_template(ipvs, Record(record_at(bucket, slot)).dest, -1)
    set_tag(bucket, slot, 0)
    return 0


@compiled
def _until(ipvs, service):
    """When a template ends that a connection has just begun with."""
    w = Ipvs(ipvs)
    life = Extra(Service(service).extra).persistent
    first = w.init_timeout * 1000 + LAG_MS
    return (Stack(w.stack).now + (life if life > first else first)) & 0xFFFFFFFF


@compiled
def _follow(ipvs, service, number, slot):
    """Real server that the template in a slot (-1: none) of a locked bucket names, or NEW."""
    w = Ipvs(ipvs)
    if slot < 0:
        return NEW
    record = record_at(bucket_at(w.templates, number), slot)
    if is_alive(record, Stack(w.stack).now) == 0 or serves(ipvs, record) == 0:
        return NEW
    prolong(record, _until(ipvs, service))
    w.template = reference_of(number, slot)
    return Record(record).dest


@compiled
def _room(ipvs, bucket):
    """A free slot of a locked bucket, or -1; a template whose time has passed makes room."""
    now = Stack(Ipvs(ipvs).stack).now
    b = Bucket(bucket)
    for slot in range(SLOTS):
        if b.tag[slot] == 0:
            return slot
    for slot in range(SLOTS):
        if is_alive(record_at(bucket, slot), now) == 0:
            remove_template(ipvs, bucket, slot)
            return slot
    return -1


@compiled
def _enter(ipvs, service, number, slot, tag, high, low, dest):
    """Write a template into a locked bucket, in place of the one in ``slot`` if that is not -1."""
    w = Ipvs(ipvs)
    bucket = bucket_at(w.templates, number)
    if slot >= 0:
        remove_template(ipvs, bucket, slot)
    else:
        slot = _room(ipvs, bucket)
        if slot < 0:
            count_drop(w.stack, TEMPLATE_FULL)
            return 0
    r = Record(record_at(bucket, slot))
    r.high = high
    r.low = low
    r.service = number_of(w.services, service)
    r.dest = dest
    r.expires = _until(ipvs, service)
    store8(used_at(w.templates, number), 1)
    set_tag(bucket, slot, tag)
    count_template(ipvs, dest, 1)
    w.template = reference_of(number, slot)
    return 0


@compiled
def _high(service, packet):
    """Upper half of the client's network (0 for IPv4)."""
    k = Packet(packet)
    if k.ports & IPV6_SIDE == 0:
        return 0
    return load64(k.data + ETHER_LEN + IP6_SRC) & Extra(Service(service).extra).mask_high


@compiled
def _low(service, packet):
    """Lower half of the client's network."""
    k = Packet(packet)
    x = Extra(Service(service).extra)
    if k.ports & IPV6_SIDE == 0:
        return k.addresses & 0xFFFFFFFF & x.mask_low
    return load64(k.data + ETHER_LEN + IP6_SRC + 8) & x.mask_low


@compiled
def assign(ipvs, service, packet):
    """Real server for the first packet of a connection, or minus a drop reason.

    ``w.template`` is what the connection is to note.  The scheduler is asked without the lock;
    another worker that was faster meanwhile is right.
    """
    w = Ipvs(ipvs)
    high = _high(service, packet)
    low = _low(service, packet)
    own = number_of(w.services, service)
    hashed = hash_of(w.templates, own, high, low)
    number = bucket_of(w.templates, hashed)
    bucket = bucket_at(w.templates, number)
    tag = tag_of(hashed)
    w.template = 0
    if lock(bucket, w.worker + 1) == 0:
        return -TEMPLATE_BUSY
    chosen = _follow(ipvs, service, number, find(bucket, tag, own, high, low))
    unlock(bucket)
    if chosen != NEW:
        return chosen
    fresh = pick(ipvs, service, packet)
    if fresh < 0:
        return fresh
    if lock(bucket, w.worker + 1) == 0:
        return -TEMPLATE_BUSY
    slot = find(bucket, tag, own, high, low)
    chosen = _follow(ipvs, service, number, slot)
    if chosen == NEW:
        chosen = fresh
        _enter(ipvs, service, number, slot, tag, high, low, fresh)
    unlock(bucket)
    return chosen


@compiled
def keep(ipvs, entry, seconds):
    """A connection will come up in ``seconds``: its template lives until after that.

    Returns in how many seconds it is to come up really: soon, when the bucket is locked too long.
    A template that names another server by now is no longer the connection's.
    """
    w = Ipvs(ipvs)
    e = Entry(entry)
    number = (e.template - 1) >> 5
    slot = (e.template - 1) & 31
    if number >= Templates(w.templates).count or slot >= SLOTS:
        e.template = 0
        return seconds
    bucket = bucket_at(w.templates, number)
    if lock(bucket, w.worker + 1) == 0:
        return 1
    record = record_at(bucket, slot)
    r = Record(record)
    if Bucket(bucket).tag[slot] == 0 or r.dest != e.dest or r.service != e.service:
        e.template = 0
    else:
        again = seconds * 1000
        if again > HORIZON:
            again = HORIZON
        prolong(record, (Stack(w.stack).now + again + LAG_MS) & 0xFFFFFFFF)
    unlock(bucket)
    return seconds
