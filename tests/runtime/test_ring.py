"""The byte ring against a deque, under corruption, and between two processes."""

import ctypes
import os
import random
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import ring_core, shm
from runtime.jit import JIT
from runtime.ring import ByteRing, RingCorrupt, RingTooLong, initialise, ring_bytes

ROOT = Path(__file__).resolve().parents[2]
GUARD = 64


class Block:
    """A ring in a plain buffer between two guard areas that nothing may write."""

    def __init__(self, capacity: int) -> None:
        size = ring_bytes(capacity)
        self.buffer = (ctypes.c_uint8 * (size + 2 * GUARD + 8))()
        base = ctypes.addressof(self.buffer)
        self.address = (base + GUARD + 7) & ~7
        self.start, self.end = self.address - base, self.address - base + size
        ctypes.memset(base, 0xA5, len(self.buffer))
        initialise(self.address, capacity)
        self.ring = ByteRing(self.address, self.buffer)

    def guards_intact(self) -> bool:
        return all(b == 0xA5 for b in self.buffer[: self.start] + self.buffer[self.end :])


STEPS = st.lists(
    st.one_of(st.none(), st.binary(max_size=70), st.integers(0, 70).map(lambda n: b"z" * n)),
    max_size=200,
)


@settings(deadline=None)
@given(STEPS, st.sampled_from([64, 128, 256]))
def test_behaves_like_a_deque(steps, capacity):
    block, model = Block(capacity), deque()
    ring = block.ring
    spans, place = deque(), 0  # bytes each record takes, with what it skipped at the end
    for step in steps:
        assert len(ring) == len(model) and ring.pending() == bool(model)
        if step is None:
            assert ring.pop() == (model.popleft() if model else None)
            if spans:
                spans.popleft()
        elif len(step) > ring.max_record:
            with pytest.raises(RingTooLong, match=str(ring.max_record)):
                ring.push(step)
        else:
            need = -(-(len(step) + 4) // 8) * 8
            skipped = capacity - place if place + need > capacity else 0
            fits = sum(spans) + skipped + need <= capacity
            assert ring.push(step) == fits
            if fits:
                model.append(step)
                spans.append(skipped + need)
                place = (place + skipped + need) % capacity
    while model:
        assert ring.pop() == model.popleft()
    assert ring.pop() is None and block.guards_intact()


def test_longest_record_fits_an_empty_ring_at_every_position():
    ring = Block(256).ring
    for shift in range(0, 600):
        data = bytes([shift & 255]) * ring.max_record
        assert ring.push(data) and ring.pop() == data
        assert ring.push(b"x" * (shift % 13)) and ring.pop() is not None


def test_full_ring_is_back_pressure_and_loses_nothing():
    ring = Block(1024).ring
    sent = 0
    while ring.push(sent.to_bytes(4, "little")):
        sent += 1
    assert sent == 1024 // 8
    assert not ring.push(b"") and len(ring) == sent
    assert [ring.pop() for _ in range(sent)] == [n.to_bytes(4, "little") for n in range(sent)]
    assert ring.pop() is None


def test_compiled_push_takes_an_address():
    block = Block(128)
    data = ctypes.create_string_buffer(b"hello", 5)
    address = ctypes.addressof(data)
    assert ring_core.push(block.address, address, 5) == 1
    assert ring_core.push(block.address, address, 61) == ring_core.TOO_LONG
    assert ring_core.push(block.address, address, -1) == ring_core.TOO_LONG
    assert block.ring.pop() == b"hello"
    while ring_core.push(block.address, address, 5) == 1:
        pass
    assert ring_core.push(block.address, address, 5) == ring_core.FULL


@pytest.mark.parametrize("capacity", [0, -8, 32, 63, 96, 1 << 31])
def test_bad_capacity(capacity):
    with pytest.raises(ValueError, match="power of two"):
        ring_bytes(capacity)


def test_unaligned_address_is_refused():
    buffer = (ctypes.c_uint8 * 1024)()
    with pytest.raises(ValueError, match="aligned"):
        initialise((ctypes.addressof(buffer) | 7), 64)


def test_opening_what_is_no_ring():
    block = Block(64)
    header = ring_core.RingHeader.from_address(block.address)
    header.capacity = 100
    with pytest.raises(RingCorrupt, match="capacity 100"):
        ByteRing(block.address)
    with pytest.raises(RingCorrupt, match="overwritten"):
        block.ring.pop()
    with pytest.raises(RingCorrupt, match="overwritten"):
        block.ring.push(b"")
    header.magic = 0
    with pytest.raises(RingCorrupt, match="no ring"):
        ByteRing(block.address)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_impossible_length_is_corrupt(length):
    block = Block(128)
    assert block.ring.push(b"12345678") and block.ring.push(b"next")
    ctypes.c_uint32.from_address(block.address + ring_core.DATA).value = length
    # A wrong length that still fits what was written cannot be told from a right one.
    if length <= 20:
        assert len(block.ring.pop() or b"") == length
    else:
        with pytest.raises(RingCorrupt):
            block.ring.pop()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.data())
def test_random_damage_never_leaves_the_block(seed, data):
    block = Block(256)
    ring, noise = block.ring, random.Random(seed)
    for _ in range(noise.randrange(8)):
        ring.push(noise.randbytes(noise.randrange(60)))
        if noise.random() < 0.3:
            ring.pop()
    where = data.draw(
        st.one_of(
            st.integers(ring_core.TAIL, ring_core.TAIL + 7),
            st.integers(ring_core.HEAD, ring_core.HEAD + 7),
            st.integers(ring_core.DATA, ring_core.DATA + 255),
        )
    )
    length = data.draw(st.integers(1, 8))
    ctypes.memmove(
        block.address + where, noise.randbytes(length), min(length, ring_bytes(256) - where)
    )
    try:
        ring.push(b"abc")
        for _ in range(50):
            if ring.pop() is None:
                break
    except RingCorrupt:
        if ring.discard():
            assert ring.push(b"alive") and ring.pop() == b"alive" and len(ring) <= 1
    assert block.guards_intact()


def test_discard_goes_on_after_damage():
    block = Block(256)
    assert block.ring.push(b"lost")
    ctypes.c_uint32.from_address(block.address + ring_core.DATA).value = 0x7FFFFFFF
    with pytest.raises(RingCorrupt):
        block.ring.pop()
    assert block.ring.discard() and len(block.ring) == 0 and block.ring.push(b"ok")
    assert block.ring.pop() == b"ok"
    ring_core.RingHeader.from_address(block.address).tail += 1
    with pytest.raises(RingCorrupt):
        block.ring.pop()
    assert not block.ring.discard()


PRODUCER = """
import os, random, sys
from runtime import shm
from runtime.ring import ByteRing
instance, records = sys.argv[1], int(sys.argv[2])
with shm.Segment.attach(instance, "ring") as segment:
    ring, noise, full = ByteRing(segment.address), random.Random(7), 0
    for k in range(records):
        data = k.to_bytes(8, "little") + bytes([k & 255]) * noise.randrange(120)
        while not ring.push(data):
            full += 1
            os.sched_yield()
print(full)
"""


def test_two_processes_every_byte():
    records = 200_000 if JIT else 20_000
    instance = f"test-ring-{os.getpid()}"
    with shm.Segment.create(instance, "ring", ring_bytes(16384)) as segment:
        ring, noise = ByteRing.create(segment.address, 16384), random.Random(7)
        child = subprocess.Popen(
            [sys.executable, "-c", PRODUCER, instance, str(records)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        try:
            for k in range(records):
                while (got := ring.pop()) is None:
                    assert child.poll() is None or ring.pending(), "the producer died"
                    os.sched_yield()
                length = noise.randrange(120)
                assert got == k.to_bytes(8, "little") + bytes([k & 255]) * length
        finally:
            if sys.exc_info()[0]:
                child.kill()
            child.communicate()
        assert child.returncode == 0 and ring.pop() is None and len(ring) == 0
