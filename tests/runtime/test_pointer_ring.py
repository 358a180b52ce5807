"""The pointer ring against a deque, and between two processes at full speed."""

import ctypes
import os
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import pointer_ring, shm
from runtime.intrinsics import cpu_pause, load64, store64
from runtime.jit import JIT, compiled

ROOT = Path(__file__).resolve().parents[2]


def make(slots: int) -> tuple[ctypes.Array, int]:
    memory = (ctypes.c_int64 * (pointer_ring.size_bytes(slots) // 8))()
    pointer_ring.initialise(ctypes.addressof(memory), slots)
    return memory, ctypes.addressof(memory)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(-1, 20)), max_size=100),
    st.sampled_from([1, 2, 8, 16]),
)
def test_behaves_like_a_deque(steps, slots):
    memory, ring = make(slots)
    model, serial = deque(), 0
    array = (ctypes.c_int64 * 20)()
    address = ctypes.addressof(array)
    for put, count in steps:
        if put:
            array[:] = range(serial, serial + 20)
            accepted = pointer_ring.enqueue_burst(ring, address, count)
            assert accepted == max(0, min(count, slots - len(model)))
            model.extend(range(serial, serial + accepted))
            serial += accepted
        else:
            taken = pointer_ring.dequeue_burst(ring, address, count)
            assert taken == max(0, min(count, len(model)))
            assert array[:taken] == [model.popleft() for _ in range(taken)]
        assert pointer_ring.waiting(ring) == len(model)
    assert memory[:1] and pointer_ring.is_valid(ring, slots)


@pytest.mark.parametrize("slots", [0, -1, 3, 12, 1 << 25])
def test_bad_sizes(slots):
    with pytest.raises(ValueError, match="power of two"):
        pointer_ring.size_bytes(slots)


def test_unaligned_address_is_refused():
    memory, ring = make(4)
    with pytest.raises(ValueError, match="aligned"):
        pointer_ring.initialise(ring + 4, 1)
    assert memory[1] == 4


@pytest.mark.parametrize(("tail", "head"), [(3, 9), (100, 0), (-5, 0), (2**62, -(2**62))])
def test_damaged_positions_move_nothing(tail, head):
    _memory, ring = make(8)
    header = pointer_ring.PointerRingHeader.from_address(ring)
    header.tail, header.head = tail, head
    array = (ctypes.c_int64 * 8)()
    address = ctypes.addressof(array)
    assert not pointer_ring.is_valid(ring, 8)
    assert pointer_ring.enqueue_burst(ring, address, 8) == 0
    assert pointer_ring.dequeue_burst(ring, address, 8) == 0


@compiled
def feed(ring, array, first, count):
    """Enqueue first, first+1, ... in bursts of up to 32."""
    sent = 0
    while sent < count:
        burst = min(32, count - sent)
        for k in range(burst):
            store64(array + (k << 3), (first + sent + k) * 0x9E3779B1)
        done = 0
        while done < burst:
            step = pointer_ring.enqueue_burst(ring, array + (done << 3), burst - done)
            if step == 0:
                cpu_pause()
            done += step
        sent += burst
    return sent


@compiled
def check(ring, array, first, count):
    """Dequeue ``count`` values; how many differed from what ``feed`` sends."""
    got = 0
    wrong = 0
    while got < count:
        taken = pointer_ring.dequeue_burst(ring, array, min(48, count - got))
        if taken == 0:
            cpu_pause()
        for k in range(taken):
            if load64(array + (k << 3)) != (first + got + k) * 0x9E3779B1:
                wrong += 1
        got += taken
    return wrong


FEEDER = """
import ctypes, sys
sys.path.insert(0, sys.argv[3])
from runtime import shm
from test_pointer_ring import feed
with shm.Segment.attach(sys.argv[1], "ptr") as segment:
    array = (ctypes.c_int64 * 64)()
    feed(segment.address, ctypes.addressof(array), 5, int(sys.argv[2]))
"""


def test_two_processes_every_value():
    # Few times round a large ring: on a busy machine each hand-over may cost a time slice.
    count, slots = (600_000, 8192) if JIT else (20_000, 1024)
    instance = f"test-ptr-{os.getpid()}"
    with shm.Segment.create(instance, "ptr", pointer_ring.size_bytes(slots)) as segment:
        pointer_ring.initialise(segment.address, slots)
        array = (ctypes.c_int64 * 64)()
        child = subprocess.Popen(
            [sys.executable, "-c", FEEDER, instance, str(count), str(Path(__file__).parent)],
            cwd=ROOT,
        )
        try:
            assert check(segment.address, ctypes.addressof(array), 5, count) == 0
        finally:
            child.kill() if sys.exc_info()[0] else None
            assert child.wait() == 0
        assert pointer_ring.waiting(segment.address) == 0
