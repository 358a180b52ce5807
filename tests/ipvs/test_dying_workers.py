"""A worker dies at any moment; the next one goes on with what the table holds."""

import ctypes
import mmap
import os
import random
import signal
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.l2 import Ether

from ipvs import table
from ipvs.dest import DestStats
from ipvs.entry import LIVE, Entry
from ipvs.laddr import LaddrStats
from ipvs.table import Table, entry_of
from ipvs.worker import shared_offsets
from runtime.jit import JIT
from tests.audit import audit
from tests.pathrig import (
    CLIENT,
    LADDR,
    LAN,
    START,
    TCP,
    UDP,
    WAN,
    Rig,
    from_client,
    from_server,
    syn,
)
from tests.rig import FakePool

CAPACITY = 64
MODES = ("fullnat", "nat", "dr")


class Memory:
    """What survives a worker, and may be seen by another process: its table and its counters."""

    def __init__(self, capacity=CAPACITY):
        self.table, self.shared = (
            (ctypes.c_uint8 * size).from_buffer(mmap.mmap(-1, size))
            for size in (table.table_bytes(capacity) + 64, shared_offsets()[1])
        )

    def worker(self, **more):
        return Rig(
            memory=self.shared,
            table_memory=self.table,
            static=True,
            **{"capacity": CAPACITY, "pool": FakePool(128), **more},
        )


def configure(rig):
    rig.laddr(0)
    for number, mode in enumerate(MODES):
        for proto in ("tcp", "udp"):
            both = 2 * number + (proto == "udp")
            rig.service(both, mode, proto, port=80 + number, dests=[{"id": both, "port": 8000}])
    return rig


@pytest.fixture
def memory():
    return Memory()


def aligned(memory):
    return (ctypes.addressof(memory) + 63) & ~63


def open_some(rig):
    """Connections of all kinds; returns the frames that must be the same before and after."""
    frames = []
    for number, mode in enumerate(MODES):
        for flags in ("S", "A"):
            rig.exchange(WAN, from_client(TCP(sport=5000 + number, dport=80 + number, flags=flags)))
        rig.exchange(WAN, from_client(UDP(sport=6000 + number, dport=80 + number)))
        frames.append((WAN, from_client(TCP(sport=5000 + number, dport=80 + number, flags="A"))))
        frames.append((WAN, from_client(UDP(sport=6000 + number, dport=80 + number))))
        if mode == "nat":
            frames.append((LAN, from_server(TCP(sport=8000, dport=5001, flags="A"), dst=CLIENT)))
            frames.append((LAN, from_server(UDP(sport=8000, dport=6001), dst=CLIENT)))
    for lport in (1025, 1026):
        layer = TCP(flags="A") if lport == 1025 else UDP()
        layer.sport, layer.dport = 8000, lport
        frames.append((LAN, from_server(layer, dst=LADDR)))
    return frames


def answers(rig, frames):
    return [rig.exchange(port, frame) for port, frame in frames]


def test_connections_go_on_as_if_nothing_had_happened(memory):
    first = configure(memory.worker())
    frames = open_some(first)
    before = answers(first, frames)
    assert sum(len(sent) for out in before for sent in out) == len(frames)
    second = configure(memory.worker(now=START + 5000))
    assert second.worker.recovered == 6 == second.connections()
    assert answers(second, frames) == before and second.drops() == {} and second.clean()
    stats = [DestStats(second.w.dest_stats + d * 64) for d in range(6)]
    assert [(s.active, s.inactive) for s in stats] == [(1, 0), (0, 1)] * 3
    # New connections do not get what the old ones hold.
    out = second.exchange(WAN, syn(sport=7000), from_client(UDP(sport=7000, dport=80)))
    assert sorted(Ether(f).sport for f in out[LAN]) == [1027, 1028]
    # And all end in time, and give everything back.
    for _ in range(400):
        second.now += 1000
        second.run()
    assert second.connections() == 0 and second.clean()
    assert LaddrStats(second.w.laddr_stats).used == 0


def test_time_goes_on_while_no_worker_is_there(memory):
    first = configure(memory.worker())
    open_some(first)
    second = configure(memory.worker(now=START + 100_000))
    second.run(3)
    second.now += 1500
    second.run(3)
    assert second.connections() == 3  # UDP is left; established TCP is over after 90 s
    third = configure(memory.worker(now=START + 2**31 + 5))
    assert third.connections() == 3 and third.clean()


def test_connections_end_before_their_local_address_is_known(memory):
    """The address was removed while the worker was dead: nobody will say where the port goes."""
    first = configure(memory.worker())
    open_some(first)
    second = memory.worker(now=START + 1000)
    second.now += 400_000
    second.run(10)
    assert second.connections() == 0 and audit(second.address) == []


def test_a_dr_connection_whose_server_is_unknown_goes_nowhere(memory):
    first = configure(memory.worker())
    open_some(first)
    second = memory.worker()
    second.exchange(WAN, from_client(TCP(sport=5002, dport=82, flags="A")))
    assert second.drops() == {"dest_route": 1}


def test_fewer_replicas_than_before(memory):
    first = configure(memory.worker(replicas=4))
    open_some(first)
    assert {e.replica for e in entries(first) if e.laddr} != {0}
    second = configure(memory.worker(replicas=1))
    assert second.connections() == 6 and second.clean()
    second.now += 400_000
    second.run(10)
    assert second.connections() == 0 and second.clean()


def test_another_capacity_begins_with_an_empty_table():
    big = Memory(256)
    first = configure(big.worker(capacity=256))
    open_some(first)
    second = configure(big.worker(capacity=64))
    assert second.worker.recovered == 0 and second.connections() == 0 and second.clean()
    open_some(second)
    third = configure(big.worker(capacity=64))
    assert third.worker.recovered == 6 and third.clean()


def test_the_block_may_lie_elsewhere_the_next_time(memory):
    first = configure(memory.worker())
    frames = open_some(first)
    before = answers(first, frames)
    copy = Memory()
    size = table.table_bytes(CAPACITY)
    ctypes.memmove(aligned(copy.table), aligned(memory.table), size)
    ctypes.memset(memory.table, 0xDD, size)
    second = configure(copy.worker())
    assert second.worker.recovered == 6
    assert answers(second, frames) == before and second.clean()


def entries(rig):
    """Live entries."""
    all_ = (Entry(entry_of(rig.w.table, n)) for n in range(1, Table(rig.w.table).high + 1))
    return [e for e in all_ if e.live == LIVE]


@pytest.mark.parametrize(
    "field,value", [("dest", 16384), ("state", 16), ("mode", 9), ("laddr", 1025), ("live", 1)]
)
def test_an_entry_that_cannot_be_is_not_believed(memory, field, value):
    first = configure(memory.worker())
    open_some(first)
    setattr(Entry(entry_of(first.w.table, 1)), field, value)
    second = configure(memory.worker())
    assert second.worker.recovered == 5 and second.clean()


# A worker that dies in the middle


class Killed(BaseException):
    """Raised inside the packet path, at any line."""


def dies_after(lines, action):
    """Run ``action`` as plain Python until so many lines of the tables' code were executed.

    True when it was cut short.
    """
    left = lines

    def trace(frame, event, arg):
        nonlocal left
        if not frame.f_code.co_filename.endswith(INTERRUPTED):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                raise Killed
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except Killed:
        return True
    finally:
        sys.settrace(before)
    return False


INTERRUPTED = tuple(
    os.path.join(*parts)
    for parts in (
        ("ipvs", "table.py"), ("ipvs", "create.py"), ("ipvs", "expire.py"), ("ipvs", "index.py"),
        ("ipvs", "laddr.py"), ("ipvs", "dest.py"), ("ipvs", "state.py"), ("runtime", "wheel.py"),
    )
)  # fmt: skip

FRAMES = {
    (kind, sport): bytes(
        from_client(UDP(sport=sport, dport=80 + kind))
        if kind < 2
        else from_client(TCP(sport=sport, dport=80, flags="SAFR"[kind - 2]))
    )
    for kind in range(6)
    for sport in range(1, 9)
}
actions = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 5), st.integers(1, 8)),
        st.tuples(st.just("pass"), st.integers(1, 400)),
    ),
    min_size=1,
    max_size=25,
)


def perform(rig, action):
    kind, value = action
    if kind == "pass":
        rig.now += value * 1000
        rig.run()
    else:
        rig.exchange(WAN, FRAMES[kind, value])


@pytest.mark.skipif(JIT, reason="compiled code cannot be interrupted at a line; see the kill test")
@settings(max_examples=20)
@given(actions, st.integers(0, 600))
def test_dying_at_any_line(steps, lines):
    memory = Memory()
    first = configure(memory.worker())
    for step in steps[:-1]:
        perform(first, step)
    assert first.clean()
    known = {(e.side[0].addresses, e.side[0].ports) for e in entries(first)}
    died = dies_after(lines, lambda: perform(first, steps[-1]))
    second = configure(memory.worker(now=first.now))
    assert audit(second.address) == []
    survived = {(e.side[0].addresses, e.side[0].ports) for e in entries(second)}
    # All connections but those whose end (or beginning) was under way.
    if steps[-1][0] != "pass":
        assert known <= survived and len(survived - known) <= 1
    else:
        assert survived <= known
    if not died:
        assert survived == {(e.side[0].addresses, e.side[0].ports) for e in entries(first)}
    second.now += 400_000
    second.run(10)
    assert second.connections() == 0 and second.clean()


def churn(memory, seed, clock):
    """In the child: open, use and end connections until killed."""
    rig = configure(memory.worker())
    chance = random.Random(seed)
    keys = list(FRAMES)
    while True:
        rig.now += chance.choice((100, 3000, 100_000))
        clock.value = rig.now  # the parent may kill from the first one on
        rig.exchange(WAN, *(FRAMES[key] for key in chance.choices(keys, k=20)))
        rig.run(2)


@pytest.mark.parametrize("seed", range(6))
def test_killed_for_real(seed):
    """SIGKILL, at whatever instruction that is; the table lies in memory shared with the parent."""
    memory = Memory()
    configure(memory.worker())  # compiled code is loaded before the fork
    ctypes.memset(memory.table, 0, ctypes.sizeof(memory.table))
    ctypes.memset(memory.shared, 0, ctypes.sizeof(memory.shared))
    block = mmap.mmap(-1, 4096)
    clock = ctypes.c_int64.from_buffer(block)
    pid = os.fork()
    if pid == 0:
        try:
            churn(memory, seed, clock)
        finally:
            os._exit(1)
    limit = time.monotonic() + 100
    while clock.value == 0 and time.monotonic() < limit:
        time.sleep(0.001)
    time.sleep(0.02 + seed * 0.013)
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    second = configure(memory.worker(now=clock.value))
    assert second.worker.recovered == second.connections() and audit(second.address) == []
    for key in list(FRAMES)[:20]:
        second.exchange(WAN, FRAMES[key])
    second.now += 400_000
    second.run(10)
    assert second.connections() == 0 and second.clean()
