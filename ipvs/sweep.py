"""The sweep: templates whose time has passed are removed, a few buckets at a time.

Each worker looks after its share of the buckets.  It keeps the counts of templates right, and must
come round before the 32-bit clock makes old times look new (24 days).
"""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.dest import DEST_SIZE, Dest
from ipvs.persist import is_alive, remove_template
from ipvs.templates import (
    SLOTS,
    Bucket,
    Record,
    Templates,
    bucket_at,
    lock,
    record_at,
    unlock,
    used_at,
)
from runtime.intrinsics import load8, load64, store8
from runtime.jit import compiled
from stack.context import Stack

AT_A_TIME = 8  # buckets whose bytes are one word


@compiled
def is_wanted(ipvs, record):
    """1 while a template has time left and its real server is one of its service."""
    w = Ipvs(ipvs)
    r = Record(record)
    d = Dest(w.dests + r.dest * DEST_SIZE)
    if d.present == 0 or d.service != r.service + 1:
        return 0
    return is_alive(record, Stack(w.stack).now)


@compiled
def _sweep_bucket(ipvs, number):
    """Remove what is over in one bucket; returns templates removed."""
    w = Ipvs(ipvs)
    bucket = bucket_at(w.templates, number)
    if lock(bucket, w.worker + 1) == 0:
        return 0
    b = Bucket(bucket)
    left = 0
    removed = 0
    for slot in range(SLOTS):
        if b.tag[slot] != 0:
            if is_wanted(ipvs, record_at(bucket, slot)):
                left += 1
            else:
                remove_template(ipvs, bucket, slot)
                removed += 1
    if left == 0:
        store8(used_at(w.templates, number), 0)
    unlock(bucket)
    return removed


@compiled
def sweep(ipvs, budget):
    """Look at the next ``budget`` groups of buckets of this worker's share; templates removed."""
    w = Ipvs(ipvs)
    count = Templates(w.templates).count
    removed = 0
    for _ in range(budget):
        first = (w.sweep * w.workers + w.worker) * AT_A_TIME
        if first >= count:
            w.sweep = 0
            break
        w.sweep += 1
        if load64(used_at(w.templates, first)) != 0:
            for number in range(first, first + AT_A_TIME):
                if load8(used_at(w.templates, number)):
                    removed += _sweep_bucket(ipvs, number)
    return removed
