"""The connection index against a dictionary, with so few buckets that they overflow."""

import ctypes

from hypothesis import given, settings
from hypothesis import strategies as st

from ipvs import index as ix
from ipvs.entry import ENTRY_SIZE
from ipvs.index import Bucket, BucketStruct, IndexStruct
from runtime.intrinsics import store64


class Small:
    """An index of few buckets over bare entries (two sides each)."""

    def __init__(self, buckets, entries):
        self.buckets = (BucketStruct * (buckets + 1))()
        self.entries = (ctypes.c_uint8 * ((entries + 1) * ENTRY_SIZE))()
        self.struct = IndexStruct(
            (ctypes.addressof(self.buckets) + 63) & ~63, buckets, ctypes.addressof(self.entries)
        )
        self.at = ctypes.addressof(self.struct)
        self.model = {}

    def hashed(self, key, bits):
        """A hash with few distinct values where it chooses the bucket and the tag."""
        top, low = key % bits, key % 3
        value = (top * 0x9E3779B97F4A7C15 & ~0x7FFF | low) & (2**64 - 1)
        return value - 2**64 if value >> 63 else value

    def insert(self, key, reference, bits):
        at = self.struct.entries + (reference >> 1) * ENTRY_SIZE + (reference & 1) * 16
        store64(at, key)
        store64(at + 8, key ^ 0x55)
        ix.insert(self.at, self.hashed(key, bits), reference)
        self.model[key] = reference

    def remove(self, key, bits):
        reference = self.model.pop(key, 0)
        assert ix.remove(self.at, self.hashed(key, bits), reference) == int(reference != 0)

    def find(self, key, bits):
        hashed = self.hashed(key, bits)
        return ix.find(self.at, ix.home(self.at, hashed), ix.tag_of(hashed), key, key ^ 0x55)

    def used(self):
        count = 0
        for number in range(self.struct.count):
            bucket = Bucket(self.struct.buckets + number * 64)
            count += sum(bucket.tag[slot] != 0 for slot in range(ix.SLOTS))
        return count

    def overflows(self):
        return sum(
            Bucket(self.struct.buckets + number * 64).overflow
            for number in range(self.struct.count)
        )


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=120),
    st.sampled_from([4, 8, 16]),
    st.sampled_from([1, 2, 5, 1000]),
)
def test_against_a_dictionary(steps, buckets, bits):
    index = Small(buckets, 32)
    for add, key in steps:
        if add and key not in index.model and len(index.model) < buckets * ix.FILL:
            free = set(range(2, 62)) - set(index.model.values())
            index.insert(key, min(free), bits)
        elif not add:
            index.remove(key, bits)
    for key in range(1, 61):
        assert index.find(key, bits) == index.model.get(key, 0)
    assert index.used() == len(index.model)
    for key in list(index.model):
        index.remove(key, bits)
    # Nothing stays: no tombstones, no overflow marks.
    assert index.used() == 0 and index.overflows() == 0


def test_a_search_ends_when_every_bucket_has_overflowed():
    """Half full, but the marks go all the way round: once a search never came back."""
    index = Small(4, 64)

    def home(key):
        return key % 4

    def insert(key, reference):
        at = index.struct.entries + (reference >> 1) * ENTRY_SIZE + (reference & 1) * 16
        store64(at, key)
        store64(at + 8, key)
        ix.insert(index.at, hash_to(key), reference)

    def hash_to(key):
        # count * hash / 2**64 is the bucket: put its number into the two top bits.
        value = (home(key) << 62) | key
        return value - 2**64 if value >> 63 else value

    # Fill each bucket in turn, push one on to the next, then thin it out.
    reference, kept = 2, []
    for bucket in range(4):
        keys = [bucket + 4 * (100 * bucket + i) for i in range(1, 12)]
        placed = []
        for key in keys:
            insert(key, reference)
            placed.append((key, reference))
            reference += 1
            if index.overflows() > bucket:
                break
        kept.append(placed[-1])
        for key, ref in placed[:-1]:
            if bucket != 0 or key != placed[0][0]:
                ix.remove(index.at, hash_to(key), ref)
    marks = [Bucket(index.struct.buckets + b * 64).overflow for b in range(4)]
    assert all(marks), "the premise: every bucket passed something on"
    missing = hash_to(3999)
    tag = ix.tag_of(missing)
    assert ix.find(index.at, ix.home(index.at, missing), tag, 3999, 3999) == 0
    for key, ref in kept:
        value = hash_to(key)
        assert ix.find(index.at, ix.home(index.at, value), ix.tag_of(value), key, key) == ref
