"""The connection table of one worker: one block of shared memory that outlives the worker.

Layout: head, index buckets, entries, timer links.  An entry's first line is the second of an
aligned pair of lines, which processors like to load together: the first one is its own as well when
it has IPv6 on a side (ipvs/wide_entry.py).  Free entries are chained through their links
(pairs of entries in a chain of their own, ipvs/pairs.py).
Everything but the entries can be rebuilt from the entries (ipvs/rebuild.py).
"""

from __future__ import annotations

import ctypes
import os

from ipvs.entry import ENTRY_SIZE, LIVE, LIVE_AT, Entry, Side, tuple_hash
from ipvs.index import BUCKET_SIZE, SEED_AT, SEEDS, IndexStruct, buckets_for, home, insert, remove
from runtime import wheel
from runtime.intrinsics import load32, prefetch_write, store32, store32_release, store64
from runtime.jit import compiled, inlined
from runtime.pointers import view

MAGIC = 0x4456505332  # "DVPS2"
FREE = 0x40000000  # marks the "previous" link of an unused entry; the entry before it in the chain


class TableStruct(ctypes.Structure):
    """Head of the table."""

    _fields_ = [
        ("magic", ctypes.c_int64),
        ("capacity", ctypes.c_int64),  # slots: a connection takes one, with IPv6 on a side two
        ("count", ctypes.c_int64),
        ("free", ctypes.c_int64),  # chain of returned entries, 0 = none
        ("pairs", ctypes.c_int64),  # chain of returned pairs, by their first entry
        ("cursor", ctypes.c_int64),  # where the search for two free neighbours goes on
        ("high", ctypes.c_int64),  # entries 1..high were used at some time
        ("entries", ctypes.c_int64),
        ("links", ctypes.c_int64),
        ("expired", ctypes.c_int64),
        ("index", IndexStruct),
        ("wheel", wheel.WheelStruct),
    ]


Table = view(TableStruct)
INDEX_AT = TableStruct.index.offset
WHEEL_AT = TableStruct.wheel.offset
HEAD_SIZE = (ctypes.sizeof(TableStruct) + 4095) & ~4095


def table_bytes(capacity: int) -> int:
    """Memory of a table for ``capacity`` entries (entry 0 is never used)."""
    entries = (capacity + 1) * (ENTRY_SIZE + 8)
    return HEAD_SIZE + buckets_for(capacity) * BUCKET_SIZE + ENTRY_SIZE + entries


def place(address: int, capacity: int) -> None:
    """Write where the parts of a table of this capacity lie when it stands at ``address``."""
    table = Table(address)
    table.capacity = capacity
    index = table.index
    index.buckets = address + HEAD_SIZE
    index.count = buckets_for(capacity)
    behind = index.buckets + index.count * BUCKET_SIZE
    table.entries = behind + ENTRY_SIZE // 2 - behind % ENTRY_SIZE
    if table.entries < behind:
        table.entries += ENTRY_SIZE
    index.entries = table.entries
    table.links = table.entries + (capacity + 1) * ENTRY_SIZE


def initialise(address: int, capacity: int, now: int) -> None:
    """Lay out an empty table in zeroed memory of ``table_bytes(capacity)``; ``now`` in ms."""
    place(address, capacity)
    table = Table(address)
    index = table.index
    for word in range(SEEDS):
        index.seed[word] = int.from_bytes(os.urandom(8), "little", signed=True)
    wheel.initialise(address + WHEEL_AT, table.links, now)
    table.magic = MAGIC


@inlined
def entry_of(table, number):
    """Address of entry ``number``."""
    return Table(table).entries + number * ENTRY_SIZE


@compiled
def chain(table, number):
    """Put an unused entry at the head of the free chain, which is linked both ways."""
    t = Table(table)
    first = t.free
    link = t.links + number * 8
    store32(link, first)
    store32(link + 4, FREE)
    if first != 0:
        store32(t.links + first * 8 + 4, FREE | number)
    t.free = number
    return 0


@compiled
def unchain(table, number):
    """Take an unused entry out of the free chain."""
    t = Table(table)
    link = t.links + number * 8
    following = load32(link)
    before = load32(link + 4) & ~FREE
    if before == 0:
        t.free = following
    else:
        store32(t.links + before * 8, following)
    if following != 0:
        store32(t.links + following * 8 + 4, FREE | before)
    store64(link, 0)
    return 0


@compiled
def take_entry(table):
    """Number of an unused entry, or 0 when the table is full."""
    t = Table(table)
    number = t.free
    if number != 0:
        unchain(table, number)
    elif t.high < t.capacity:
        t.high += 1
        number = t.high
    else:
        number = t.pairs
        if number == 0:
            return 0
        t.pairs = load32(t.links + number * 8)
        store64(t.links + number * 8, 0)
        chain(table, number + 1)
    t.count += 1
    # The next connection will want these lines.
    following = t.free if t.free != 0 else t.high + 1
    prefetch_write(t.entries + following * ENTRY_SIZE)
    prefetch_write(t.entries + following * ENTRY_SIZE + 64)
    prefetch_write(t.links + following * 8)
    return number


@compiled
def give_entry(table, number):
    """Return an entry that is in neither index nor wheel."""
    chain(table, number)
    Table(table).count -= 1
    return 0


@compiled
def hash_side(table, number, side):
    """Index hash of one side of an entry."""
    at = Side(entry_of(table, number) + side * 16)
    return tuple_hash(table + INDEX_AT + SEED_AT, at.addresses, at.ports)


@compiled
def publish_side(table, number, side):
    """Make one side of an entry findable."""
    insert(table + INDEX_AT, hash_side(table, number, side), number * 2 + side)
    return 0


@compiled
def prefetch_side(table, number, side):
    """Begin to load the index line that publish_side will write."""
    prefetch_write(home(table + INDEX_AT, hash_side(table, number, side)))
    return 0


@compiled
def publish(table, number, sides):
    """Make a filled-in entry findable by ``sides`` (1: client's, 2: both) and live."""
    publish_side(table, number, 0)
    if sides == 2:
        publish_side(table, number, 1)
    store32_release(entry_of(table, number) + LIVE_AT, LIVE)
    return 0


@compiled
def withdraw(table, number, sides):
    """The reverse of publish."""
    index = table + INDEX_AT
    store32_release(entry_of(table, number) + LIVE_AT, 0)
    remove(index, hash_side(table, number, 0), number * 2)
    if sides == 2:
        remove(index, hash_side(table, number, 1), number * 2 + 1)
    return 0


@compiled
def arm(table, number, now, seconds):
    """Hang an entry in the wheel ``seconds`` from ``now`` (it notes when it will come up)."""
    entry = Entry(entry_of(table, number))
    delay = seconds * 1000
    if delay > wheel.HORIZON:
        delay = wheel.HORIZON
    entry.armed = (now + delay) & 0xFFFFFFFF
    wheel.arm(table + WHEEL_AT, number, delay)
    return 0


@compiled
def rearm_sooner(table, number, now, seconds):
    """After a state change: move the entry forward if it would come up later than it is due."""
    entry = Entry(entry_of(table, number))
    later = (entry.armed - (now + seconds * 1000)) & 0xFFFFFFFF
    if later != 0 and later < 0x80000000:
        wheel.disarm(table + WHEEL_AT, number)
        arm(table, number, now, seconds)
    return 0
