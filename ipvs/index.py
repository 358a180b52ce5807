"""Connection index: cache-line buckets of ten (tag, reference) slots.

A reference is entry number * 2 + side.  A full bucket passes an insertion on to the next one and
counts it in ``overflow``, so a lookup reads a second line only when some entry really went there,
and removal leaves no tombstones (the scheme of F14 tables).
"""

from __future__ import annotations

import ctypes

from ipvs.entry import ENTRY_SIZE
from runtime.intrinsics import cttz, load64, match16, mulhi
from runtime.jit import compiled, inlined
from runtime.pointers import view

SLOTS = 10
SLOT_MASK = (1 << SLOTS) - 1
BUCKET_SIZE = 64
SEEDS = 6  # random words: two of the hash, four of the digest of IPv6 addresses
FILL = 6  # references per bucket the index is sized for


class BucketStruct(ctypes.Structure):
    """One cache line; tag 0 = slot free."""

    _fields_ = [
        ("tag", ctypes.c_uint16 * SLOTS),
        ("overflow", ctypes.c_uint32),
        ("reference", ctypes.c_uint32 * SLOTS),
    ]


class IndexStruct(ctypes.Structure):
    """Head of the index (part of the connection table)."""

    _fields_ = [
        ("buckets", ctypes.c_int64),  # address
        ("count", ctypes.c_int64),  # of buckets
        ("entries", ctypes.c_int64),  # address of entry 0
        ("seed", ctypes.c_int64 * SEEDS),
    ]


Bucket = view(BucketStruct)
Index = view(IndexStruct)
SEED_AT = IndexStruct.seed.offset

if ctypes.sizeof(BucketStruct) != BUCKET_SIZE:
    raise AssertionError("index bucket is not one cache line")


def buckets_for(capacity: int) -> int:
    """Number of buckets for ``capacity`` connections (two references each)."""
    return max(16, (2 * capacity + FILL - 1) // FILL)


@inlined
def home(index, hashed):
    """Address of the bucket a hash belongs to."""
    i = Index(index)
    return i.buckets + mulhi(hashed, i.count) * BUCKET_SIZE


@inlined
def tag_of(hashed):
    """16-bit tag of a hash, never 0."""
    return (hashed & 0x7FFF) | 0x8000


@compiled
def _following(index, bucket):
    i = Index(index)
    after = bucket + BUCKET_SIZE
    return after if after < i.buckets + i.count * BUCKET_SIZE else i.buckets


@inlined
def candidate(bucket, tag):
    """First reference in ``bucket`` with ``tag``, or 0: what the pipeline prefetches."""
    hits = match16(bucket, tag) & SLOT_MASK
    if hits == 0:
        return 0
    return Bucket(bucket).reference[cttz(hits)]


@compiled
def find(index, bucket, tag, addresses, ports):
    """Reference whose side equals (addresses, ports), or 0."""
    i = Index(index)
    first = bucket
    while True:
        b = Bucket(bucket)
        hits = match16(bucket, tag) & SLOT_MASK
        while hits != 0:
            reference = b.reference[cttz(hits)]
            at = i.entries + (reference >> 1) * ENTRY_SIZE + (reference & 1) * 16
            if load64(at) == addresses and load64(at + 8) == ports:
                return reference
            hits &= hits - 1
        if b.overflow == 0:
            return 0
        bucket = _following(index, bucket)
        if bucket == first:
            return 0


@compiled
def insert(index, hashed, reference):
    """Add a reference under a hash; there is always room (the index is sized for every entry)."""
    bucket = home(index, hashed)
    while True:
        b = Bucket(bucket)
        free = match16(bucket, 0) & SLOT_MASK
        if free != 0:
            slot = cttz(free)
            b.reference[slot] = reference
            b.tag[slot] = tag_of(hashed)
            return 0
        b.overflow += 1
        bucket = _following(index, bucket)


@compiled
def _holds(bucket, tag, reference):
    hits = match16(bucket, tag) & SLOT_MASK
    b = Bucket(bucket)
    while hits != 0:
        slot = cttz(hits)
        if b.reference[slot] == reference:
            return slot
        hits &= hits - 1
    return -1


@compiled
def remove(index, hashed, reference):
    """Take a reference out; 1, or 0 when it is not there."""
    tag = tag_of(hashed)
    first = home(index, hashed)
    bucket = first
    slot = _holds(bucket, tag, reference)
    while slot < 0:
        if Bucket(bucket).overflow == 0:
            return 0
        bucket = _following(index, bucket)
        if bucket == first:
            return 0
        slot = _holds(bucket, tag, reference)
    Bucket(bucket).tag[slot] = 0
    passed = first
    while passed != bucket:
        Bucket(passed).overflow -= 1
        passed = _following(index, passed)
    return 1
