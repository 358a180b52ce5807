"""The connection index against a dictionary, in few buckets so that they overflow."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipvs.entry import ENTRY_SIZE, Side, tuple_hash
from ipvs.index import (
    BUCKET_SIZE,
    SEED_AT,
    SLOTS,
    Bucket,
    Index,
    IndexStruct,
    buckets_for,
    candidate,
    find,
    home,
    insert,
    remove,
    tag_of,
)
from tests.memory import aligned

CONNECTIONS = 64


class Connections:
    """An index over entries whose two sides hold made-up tuples."""

    def __init__(self, buckets, seed=(3, 5)):
        self.head = IndexStruct()
        self.memory, where = aligned(buckets * BUCKET_SIZE)
        self.entries = (ctypes.c_uint8 * ((CONNECTIONS + 1) * ENTRY_SIZE))()
        self.index = ctypes.addressof(self.head)
        i = Index(self.index)
        i.buckets, i.count, i.entries = where, buckets, ctypes.addressof(self.entries)
        i.seed[0], i.seed[1] = seed

    def side(self, reference):
        return Side(Index(self.index).entries + (reference >> 1) * ENTRY_SIZE + reference % 2 * 16)

    def hash_of(self, addresses, ports):
        return tuple_hash(self.index + SEED_AT, addresses, ports)

    def add(self, reference, addresses, ports):
        side = self.side(reference)
        side.addresses, side.ports = addresses, ports
        insert(self.index, self.hash_of(addresses, ports), reference)

    def discard(self, reference):
        side = self.side(reference)
        return remove(self.index, self.hash_of(side.addresses, side.ports), reference)

    def find(self, addresses, ports):
        hashed = self.hash_of(addresses, ports)
        bucket = home(self.index, hashed)
        return find(self.index, bucket, tag_of(hashed), addresses, ports)

    def first(self, addresses, ports):
        hashed = self.hash_of(addresses, ports)
        return candidate(home(self.index, hashed), tag_of(hashed))

    def overflow(self):
        i = Index(self.index)
        return [Bucket(i.buckets + n * BUCKET_SIZE).overflow for n in range(i.count)]


def key_of(reference):
    """A tuple that is this reference's alone."""
    return 0x0102_0304_0000_0000 + reference * 7, 0x06_0050_0000 + reference


@settings(max_examples=60)
@given(
    st.sampled_from([14, 16, 20]),
    st.tuples(*[st.integers(-(1 << 63), (1 << 63) - 1)] * 2),
    st.lists(st.integers(2, 2 * CONNECTIONS + 1), max_size=200),
)
def test_against_a_dictionary(buckets, seed, steps):
    """Every step toggles one reference; 128 references in 14 buckets of 10 are nearly full."""
    c, known = Connections(buckets, seed), set()
    for reference in steps:
        if reference in known:
            assert c.discard(reference) == 1
            known.remove(reference)
        else:
            c.add(reference, *key_of(reference))
            known.add(reference)
        assert c.find(*key_of(reference)) == (reference if reference in known else 0)
    for reference in range(2, 2 * CONNECTIONS + 2):
        expected = reference if reference in known else 0
        assert c.find(*key_of(reference)) == expected
    for reference in known:
        assert c.discard(reference) == 1
    assert c.overflow() == [0] * buckets


def test_nearly_full_index_finds_everything_and_empties():
    c = Connections(13)  # room for 130
    for reference in range(2, 2 * CONNECTIONS + 2):
        c.add(reference, *key_of(reference))
    assert any(c.overflow())
    for reference in range(2, 2 * CONNECTIONS + 2):
        assert c.find(*key_of(reference)) == reference
    assert c.find(1, 1) == 0
    for reference in range(2, 2 * CONNECTIONS + 2):
        assert c.discard(reference) == 1
        assert c.discard(reference) == 0
    assert c.overflow() == [0] * 13


def test_one_bucket_full_to_the_last_slot():
    """A lookup in an index without a free slot ends."""
    c = Connections(1)
    for reference in range(2, SLOTS + 2):
        c.add(reference, *key_of(reference))
    assert all(c.find(*key_of(r)) == r for r in range(2, SLOTS + 2))
    assert c.find(*key_of(99)) == 0
    assert c.discard(99) == 0


def test_same_tag_in_one_bucket():
    """Two tuples that differ only where the tag does not look."""
    c = Connections(1, seed=(0, 0))
    keys = {}
    n = 1
    while True:
        key = key_of(n)
        twin = keys.setdefault(tag_of(c.hash_of(*key)), n)
        if twin != n:
            break
        n += 1
    c.add(2, *key_of(twin))
    c.add(4, *key_of(n))
    assert c.first(*key_of(n)) == c.first(*key_of(twin)) != 0
    assert (c.find(*key_of(twin)), c.find(*key_of(n))) == (2, 4)
    assert c.discard(2) == 1
    assert (c.find(*key_of(twin)), c.find(*key_of(n))) == (0, 4)


def test_protocol_and_direction_are_part_of_the_key():
    c = Connections(16)
    c.add(2, 1 | 2 << 32, 3 | 4 << 16 | 6 << 32)
    assert c.find(1 | 2 << 32, 3 | 4 << 16 | 6 << 32) == 2
    assert c.find(1 | 2 << 32, 3 | 4 << 16 | 17 << 32) == 0
    assert c.find(2 | 1 << 32, 4 | 3 << 16 | 6 << 32) == 0


@pytest.mark.parametrize("capacity", [1, 2, 1000, 1 << 20])
def test_room_for_both_sides_of_all_connections(capacity):
    assert buckets_for(capacity) * SLOTS >= 2 * capacity * 1.6
