"""Templates: which real server the clients of one network get.  One table for all workers.

This is the only table of the packet path that workers share: connections of one client arrive at
every worker, and all of them must name the same server.  It is looked at when a connection begins,
when one comes up in the timer wheel, and by the sweep - never for a packet of a known connection.

A bucket is a lock, the tags of its records, and the records.  Whoever reads or writes records holds
the lock, for some tens of nanoseconds.  It holds the worker's number: what a worker that was killed
left locked is unlocked when its successor starts (``break_locks``); a record it was writing has no
tag yet.  Waiting is limited, so a lock that stays held costs packets of that bucket only.
"""

from __future__ import annotations

import ctypes
import os

from runtime.intrinsics import (
    claim,
    cpu_pause,
    load64,
    mum,
    shr,
    store32_release,
    store64,
    store_release,
)
from runtime.jit import compiled
from runtime.pointers import view

SLOTS = 28
SPINS = 1000  # looks at a lock before giving up: some tens of microseconds
MAGIC = 0x44505653544D31  # "DPVSTM1"
# Records are spread by a hash: a bucket for every 14 that are wanted at a time leaves one client
# in 5,000 without room when all of them are there.
WANTED_PER_BUCKET = 14


class RecordStruct(ctypes.Structure):
    """One template: the network's address (masked, raw halves; IPv4 in ``low``), its server."""

    _fields_ = [
        ("high", ctypes.c_int64),
        ("low", ctypes.c_int64),
        ("expires", ctypes.c_uint32),  # ms of the workers' clock
        ("service", ctypes.c_uint16),
        ("dest", ctypes.c_uint16),
        ("spare", ctypes.c_int64),
    ]


class BucketStruct(ctypes.Structure):
    """1,024 bytes; a tag of 0 is a free slot."""

    _fields_ = [
        ("lock", ctypes.c_int64),  # worker + 1, 0 = nobody
        ("spare", ctypes.c_int64),
        ("tag", ctypes.c_uint32 * SLOTS),
        ("record", RecordStruct * SLOTS),
    ]


class TemplatesStruct(ctypes.Structure):
    """Head.  Buckets follow, then a byte for each: 1 while records are in it."""

    _fields_ = [
        ("magic", ctypes.c_int64),
        ("count", ctypes.c_int64),  # buckets, a multiple of 8
        ("seed", ctypes.c_int64 * 3),
        ("pad", ctypes.c_int64 * 11),
    ]


Record = view(RecordStruct)
Bucket = view(BucketStruct)
Templates = view(TemplatesStruct)
HEAD = ctypes.sizeof(TemplatesStruct)
BUCKET = ctypes.sizeof(BucketStruct)
RECORD = ctypes.sizeof(RecordStruct)
TAGS_AT = BucketStruct.tag.offset
RECORDS_AT = BucketStruct.record.offset
if (HEAD, BUCKET, RECORD) != (128, 1024, 32):
    raise AssertionError("template records have the wrong size")


def buckets_for(capacity: int) -> int:
    """Buckets of a table for ``capacity`` templates."""
    return (capacity // WANTED_PER_BUCKET + 8) & ~7


def templates_bytes(capacity: int) -> int:
    """Memory of a table for ``capacity`` templates."""
    return HEAD + buckets_for(capacity) * (BUCKET + 1)


def initialise(address: int, capacity: int) -> None:
    """Lay out an empty table in ``templates_bytes(capacity)`` zero bytes, 64-byte aligned."""
    table = Templates(address)
    table.count = buckets_for(capacity)
    for word in range(3):
        table.seed[word] = int.from_bytes(os.urandom(8), "little", signed=True)
    table.magic = MAGIC


@compiled
def hash_of(table, service, high, low):
    """Keyed hash of a client network and a service."""
    t = Templates(table)
    return mum(mum(high ^ t.seed[0], low ^ t.seed[1]) ^ service, t.seed[2])


@compiled
def bucket_of(table, hashed):
    """Number of the bucket a template is in."""
    return ((hashed & 0xFFFFFFFF) * Templates(table).count) >> 32


@compiled
def bucket_at(table, number):
    """Address of a bucket."""
    return table + HEAD + number * BUCKET


@compiled
def tag_of(hashed):
    """Tag of a template: 32 bits of the hash, never 0."""
    return shr(hashed, 32) | 1


@compiled
def record_at(bucket, slot):
    """Address of a record."""
    return bucket + RECORDS_AT + slot * RECORD


@compiled
def used_at(table, number):
    """Address of the byte that says whether records are in a bucket."""
    return table + HEAD + Templates(table).count * BUCKET + number


@compiled
def lock(bucket, owner):
    """Lock a bucket for ``owner`` (worker + 1); 0 when somebody else holds it too long."""
    for _ in range(SPINS):
        if claim(bucket, owner):
            return 1
        cpu_pause()
    return 0


@compiled
def unlock(bucket):
    """What was written becomes visible with it."""
    store_release(bucket, 0)
    return 0


@compiled
def find(bucket, tag, service, high, low):
    """Slot of a template in a locked bucket, or -1."""
    b = Bucket(bucket)
    for slot in range(SLOTS):
        if b.tag[slot] == tag:
            r = Record(record_at(bucket, slot))
            if r.low == low and r.high == high and r.service == service:
                return slot
    return -1


@compiled
def set_tag(bucket, slot, tag):
    """Give a slot its tag when its record is whole; 0 before it is written, or to free it."""
    store32_release(bucket + TAGS_AT + slot * 4, tag)
    return 0


@compiled
def break_locks(table, owner):
    """Unlock what a killed worker had locked; how many buckets that were (0 or 1)."""
    broken = 0
    for number in range(Templates(table).count):
        bucket = bucket_at(table, number)
        if load64(bucket) == owner:
            store64(bucket, 0)
            broken += 1
    return broken
