"""Counters written by compiled code in one process and read in another."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import counters, shm
from runtime.counters import CounterBlock, CounterReader
from runtime.jit import compiled

ROOT = Path(__file__).resolve().parents[2]
BLOCK = CounterBlock("test_port", [("rx_packets", "packets received"), ("drops", "dropped")])
DEST = CounterBlock("test_dest", [(f"c{k}", f"counter {k}") for k in range(8)])
Port = BLOCK.view
Dests = DEST.table_view
DEST_SIZE = DEST.size


@compiled
def count(address, packets):
    port = Port(address)
    for k in range(packets):
        port.rx_packets += 1
        if k & 1:
            port.drops += 3
    return port.rx_packets


@compiled
def count_dest(table, index, amount):
    dest = Dests(table).at[index]
    dest.c0 += 1
    dest.c7 += amount
    return dest.ptr - table


def test_layout_is_whole_cache_lines():
    assert BLOCK.size == 64 and DEST.size == 64
    assert BLOCK.names == ("rx_packets", "drops") and BLOCK.help["drops"] == "dropped"
    assert CounterBlock("test_nine", [(f"n{k}", "") for k in range(9)]).size == 128


@settings(deadline=None)
@given(st.integers(0, 50))
def test_compiled_code_counts(packets):
    memory = (ctypes.c_int64 * 8)()
    address = ctypes.addressof(memory)
    assert count(address, packets) == packets
    assert BLOCK.read(address) == {"rx_packets": packets, "drops": packets // 2 * 3}
    BLOCK.clear(address)
    assert BLOCK.read(address) == {"rx_packets": 0, "drops": 0}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2**40)), max_size=30))
def test_arrays_of_blocks(steps):
    memory = (ctypes.c_int64 * (16 * 8))()
    table = ctypes.addressof(memory)
    model = [[0, 0] for _ in range(16)]
    for index, amount in steps:
        assert count_dest(table, index, amount) == index * DEST_SIZE
        model[index][0] += 1
        model[index][1] += amount
    for index, (calls, amount) in enumerate(model):
        values = DEST.read(table, index)
        assert values == {**{f"c{k}": 0 for k in range(8)}, "c0": calls, "c7": amount}


def test_reader_sums_workers_and_zeroes_without_writing():
    memory = (ctypes.c_int64 * 16)()
    addresses = [ctypes.addressof(memory), ctypes.addressof(memory) + 64]
    reader = CounterReader(BLOCK, addresses, memory=memory)
    count(addresses[0], 10)
    count(addresses[1], 5)
    assert reader.read() == {"rx_packets": 15, "drops": 21}
    reader.zero()
    count(addresses[1], 2)
    assert reader.read() == {"rx_packets": 2, "drops": 3}
    assert reader.worker(0) == {"rx_packets": 0, "drops": 0}
    assert memory[0] == 10, "the writer's word is the writer's"
    assert counters.total([]) == {} and counters.since({"a": 3}, {}) == {"a": 3}


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("Bad", ["a"]),
        ("test_bad", []),
        ("test_bad", ["a", "a"]),
        ("test_bad", ["ptr"]),
        ("test_bad", ["_x"]),
        ("test_bad", ["a b"]),
        ("test_port", ["other"]),
    ],
)
def test_bad_declarations(title, names):
    with pytest.raises(ValueError, match="counter"):
        CounterBlock(title, [(name, "") for name in names])


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from runtime import shm
from test_counters import count
with shm.Segment.attach(sys.argv[1], "counters") as segment:
    for _ in range(50):
        count(segment.address, 200)
"""


def test_another_process_reads_while_one_writes():
    instance = f"test-cnt-{os.getpid()}"
    with shm.Segment.create(instance, "counters", BLOCK.size) as segment:
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, instance, str(Path(__file__).parent)], cwd=ROOT
        )
        last = 0
        while child.poll() is None:
            now = BLOCK.read(segment.address)["rx_packets"]
            assert now >= last
            last = now
        assert child.returncode == 0
        assert BLOCK.read(segment.address) == {"rx_packets": 10_000, "drops": 15_000}
