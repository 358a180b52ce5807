"""A worker without DPDK: the real compiled packet path between fake ports.

``Rig`` gives the path genuine mbufs (ctypes memory) and burst functions (ctypes callbacks), so
every test can put frames in and look at the exact bytes that come out, compiled or plain.
"""

from __future__ import annotations

import ctypes
from collections import deque

from ipvs import table
from ipvs.apply import Applier, mac_number
from ipvs.context import Ipvs
from ipvs.datagram_table import age_datagrams
from ipvs.expire import expire
from ipvs.loop import flush_ports, iterate
from ipvs.poll import poll_ports, poll_rings
from ipvs.sweep import sweep
from ipvs.worker import Worker, shared_offsets
from netdev.abi import HEADROOM, FastPathStruct, Mbuf, MbufStruct
from netdev.port import PortStruct
from runtime import pointer_ring
from runtime.intrinsics import store64
from stack.context import Stack
from stack.drops import DROP_SLOTS, REASONS
from stack.upkeep import age

ROOM = 2048
HZ = 1_000_000_000
BURST_CALL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
FREE_CALL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")


class FakePool:
    """Mbufs in ctypes memory; counts what is out."""

    def __init__(self, count=512):
        self.memory = (ctypes.c_uint8 * (count * (128 + HEADROOM + ROOM)))()
        base = ctypes.addressof(self.memory)
        self.all = [base + i * (128 + HEADROOM + ROOM) for i in range(count)]
        self.free = deque(self.all)
        self.dequeue = BURST_CALL(self._dequeue)
        self.free_bulk = FREE_CALL(self._free)

    def take(self):
        mbuf = self.free.popleft()
        ctypes.memset(mbuf, 0xEE, ctypes.sizeof(MbufStruct))
        m = Mbuf(mbuf)
        m.buf_addr, m.data_off, m.nb_segs, m.refcnt = mbuf + 128, HEADROOM, 1, 1
        m.ol_flags = m.next = m.tx_offload = 0
        m.buf_len = HEADROOM + ROOM
        return mbuf

    def _dequeue(self, pool, array, count):
        if not self.free:
            return -2
        store64(array, self.take())
        return 0

    def _free(self, array, count):
        for i in range(count):
            mbuf = ctypes.c_int64.from_address(array + i * 8).value
            assert mbuf in self.all and mbuf not in self.free, "double free"
            self.free.append(mbuf)
        return 0


class FakePort:
    """A port: frames wait in ``incoming``, sent ones gather in ``sent``."""

    def __init__(self, pool, index):
        self.pool, self.index = pool, index
        self.incoming, self.sent = deque(), []
        self.refuse = 0
        self.rx, self.tx = BURST_CALL(self._rx), BURST_CALL(self._tx)
        # Whatever its number, a queue of this port is known to the driver as the port's index.
        self.queues = (ctypes.c_int64 * 64)(*[index] * 64)
        self.fast = FastPathStruct()
        self.fast.rx_burst = ctypes.cast(self.rx, ctypes.c_void_p).value
        self.fast.tx_burst = ctypes.cast(self.tx, ctypes.c_void_p).value
        self.fast.rx_queues = self.fast.tx_queues = ctypes.addressof(self.queues)

    def _rx(self, queue, array, limit):
        assert queue == self.index
        count = 0
        while self.incoming and count < limit:
            frame, segments = self.incoming.popleft()
            mbuf = self.pool.take()
            m = Mbuf(mbuf)
            ctypes.memmove(m.buf_addr + m.data_off, frame, len(frame))
            m.pkt_len = m.data_len = len(frame)
            m.nb_segs = segments
            store64(array + count * 8, mbuf)
            count += 1
        return count

    def _tx(self, queue, array, count):
        taken = max(0, count - self.refuse)
        for i in range(taken):
            mbuf = ctypes.c_int64.from_address(array + i * 8).value
            m = Mbuf(mbuf)
            assert m.nb_segs == 1 and m.next == 0 and m.pkt_len == m.data_len
            self.sent.append(ctypes.string_at(m.buf_addr + m.data_off, m.pkt_len))
            self.pool.free.append(mbuf)
        return taken


class Rig:
    """One worker (of ``workers``) with two ports, wan 0 and lan 1.

    ``pool``: another rig's, when mbufs go from worker to worker.  ``memory`` and ``table_memory``:
    those of a rig whose worker died.  ``templates``: address of the table of templates, when
    workers share it.  ``now``: start of the clock in ms, when tests steer it
    (see ``at``) instead of the time stamp counter.
    """

    def __init__(
        self, index=0, workers=1, capacity=1024, replicas=1, memory=None, table_memory=None,
        pool=None, now=None, templates=None,
    ):  # fmt: skip
        self.pool = pool or FakePool()
        self.ports = [FakePort(self.pool, i) for i in range(2)]
        _, size = shared_offsets()
        self.shared = memory or (ctypes.c_uint8 * size)()
        self.worker = Worker(index, workers, ctypes.addressof(self.shared), HZ)
        self.address = self.worker.address
        self.w = Ipvs(self.address)
        self.stack = Stack(self.w.stack)
        if now is not None:
            self.stack.now = now
            self.worker.now = lambda: now
        self.worker.set_calls(
            1,
            ctypes.cast(self.pool.dequeue, ctypes.c_void_p).value,
            ctypes.cast(self.pool.free_bulk, ctypes.c_void_p).value,
        )
        self.port_memory = [PortStruct() for _ in self.ports]
        for i, (memory_, port) in enumerate(zip(self.port_memory, self.ports, strict=True)):
            memory_.fast = ctypes.addressof(port.fast)
            memory_.calls = self.stack.calls
            memory_.mac = mac_number(MACS[i])
            memory_.rx_queue = memory_.tx_queue = index
            memory_.index, memory_.mtu, memory_.up = i, 1500, 1
            self.stack.ports[i] = ctypes.addressof(memory_)
        self.stack.port_count = 2
        if templates is not None:
            self.worker.attach_templates(templates)
        self.table_memory = table_memory or (ctypes.c_uint8 * (table.table_bytes(capacity) + 64))()
        at = (ctypes.addressof(self.table_memory) + 63) & ~63
        self.worker.attach_table(at, table.table_bytes(capacity), capacity)
        self.applier = Applier(self.worker, replicas)

    def apply(self, record, **body):
        self.applier.apply(record, body)

    def push(self, port, *frames, segments=1):
        self.ports[port].incoming.extend((bytes(frame), segments) for frame in frames)

    def run(self, rounds=1):
        """Iterate; returns what each port sent."""
        for _ in range(rounds):
            iterate(self.address)
        return self._sent()

    def at(self, ms, rounds=1, budget=64):
        """What ``iterate`` does, with the clock at ``ms``; returns what each port sent."""
        self.stack.now = ms & 0xFFFFFFFF
        for _ in range(rounds):
            poll_ports(self.address)
            if self.worker.count > 1:
                poll_rings(self.address)
            expire(self.address, budget)
            age(self.w.stack, budget)
            age_datagrams(self.address, 64)
            sweep(self.address, 64)
            flush_ports(self.w.stack)
        return self._sent()

    def _sent(self):
        result = [list(port.sent) for port in self.ports]
        for port in self.ports:
            port.sent.clear()
        return result

    def exchange(self, port, *frames):
        """Push frames into one port and return what came out of (wan, lan)."""
        self.push(port, *frames)
        return self.run(1 + len(frames) // 32)

    def at_once(self, port, *frames):
        """``exchange`` while the clock stands still."""
        self.push(port, *frames)
        return self.at(self.stack.now, rounds=1 + len(frames) // 32)

    def drops(self):
        """Non-zero drop counters by name."""
        counts = (ctypes.c_int64 * DROP_SLOTS).from_address(self.stack.drops)
        return {name: counts[n] for n, (name, _) in REASONS.items() if counts[n]}

    def in_flight(self):
        """Mbufs neither free nor sent: must be 0 unless packets wait for a neighbour."""
        return len(self.pool.all) - len(self.pool.free)


def crew(make, workers, slots=64, **options):
    """``workers`` rigs of one balancer, each by ``make``, with rings between them."""
    rigs = [make(index=0, workers=workers, **options)]
    for index in range(1, workers):
        rigs.append(make(index=index, workers=workers, pool=rigs[0].pool, **options))
    rigs[0].kept = connect(rigs, slots)
    return rigs


def connect(rigs, slots=64):
    """Rings between all workers, as they hand packets over; returns the memory to keep."""
    kept = []
    for source in rigs:
        for target in rigs:
            if source is not target:
                memory = (ctypes.c_int64 * (pointer_ring.size_bytes(slots) // 8))()
                pointer_ring.initialise(ctypes.addressof(memory), slots)
                source.w.out_rings[target.worker.index] = ctypes.addressof(memory)
                target.w.in_rings[source.worker.index] = ctypes.addressof(memory)
                kept.append(memory)
    return kept


def go_round(rigs):
    """Let connected workers hand each other packets, at one moment; returns what each port sent."""
    sent = [[], []]
    for each in rigs * (len(rigs) + 1):
        for all_, new in zip(sent, each.at(each.stack.now, rounds=2), strict=True):
            all_ += new
    return sent
