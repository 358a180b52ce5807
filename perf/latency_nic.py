"""A port whose packets arrive by the clock, and whose sender notes how long each one took.

It stands in front of a generator (perf/generator.py): packets fall due at a steady rate, wait in a
receive queue of limited depth while the worker is away, and carry their times through the worker in
mbuf space that DPDK leaves to applications.  What the queue has no room for is lost, as on a NIC.
"""

from __future__ import annotations

import ctypes

from netdev.abi import FastPath, FastPathStruct, Mbuf
from netdev.port import Port
from perf.loops import crowd
from runtime.intrinsics import call3, copy, load16, load64, mulhi, rdtsc, store64
from runtime.jit import c_address, compiled
from runtime.pointers import view

SLOTS = 1024  # of a histogram
MOST = (1 << 36) - 1  # cycles: half a minute
FINE = 64  # values below have a slot each; above, 32 slots for every doubling
SAMPLE = 512  # frames of a round that are kept, as received and as sent
FRAME = 64
OFF, PACED, FLAT_OUT = 0, 1, 2

# How fast the core runs is looked at again and again: a fixed piece of work, timed.
GAUGE_STEPS = 32  # of perf.loops.crowd, a tenth of a microsecond
GAUGE_SPACING = 40_000  # cycles from one look to the next, about 20 us: half a percent of them
TWICE = 2  # slow looks in a row: not just an interrupt
CALM = 16  # good looks in a row, and the queue is empty again: all is well

# In struct rte_mbuf's dynfield1, at 92 to 127.
NUMBER_AT, DUE_AT, SEEN_AT = 96, 104, 112
ETHER_IPV4 = 0x0008  # as loaded


class NicStruct(ctypes.Structure):
    """State of the port in memory that the measuring program shares."""

    _fields_ = [
        ("mode", ctypes.c_int64),
        ("scale", ctypes.c_int64),  # packets a cycle, in 1/2**64
        ("spacing", ctypes.c_int64),  # cycles between packets, in 1/65536
        ("depth", ctypes.c_int64),  # of the receive queue
        ("start", ctypes.c_int64),  # TSC of the first packet, 0: at the next poll
        ("taken", ctypes.c_int64),  # packets that fell due and were handed over or lost
        ("lost", ctypes.c_int64),  # while the core ran at its speed
        ("lost_slowed", ctypes.c_int64),  # while it did not
        ("lost_stalled", ctypes.c_int64),  # because it had stood still for longer than ``stall``
        ("received", ctypes.c_int64),
        ("sent", ctypes.c_int64),
        ("refused", ctypes.c_int64),  # by the driver below, when sending
        ("polled", ctypes.c_int64),  # TSC of the last poll
        ("rx_burst", ctypes.c_int64),
        ("rx_queue", ctypes.c_int64),
        ("tx_burst", ctypes.c_int64),
        ("tx_queue", ctypes.c_int64),
        # Two histograms each: the core at its speed, the core slowed.
        ("due_to_sent", ctypes.c_int64 * (2 * SLOTS)),
        ("seen_to_sent", ctypes.c_int64 * (2 * SLOTS)),
        ("between_polls", ctypes.c_int64 * (2 * SLOTS)),
        ("frames_in", ctypes.c_uint8 * (SAMPLE * FRAME)),
        ("frames_out", ctypes.c_uint8 * (SAMPLE * FRAME)),
        ("sampled", ctypes.c_int64),  # frames_out that are filled
        ("gauged", ctypes.c_int64),  # TSC of the last look at the core's speed
        ("fastest", ctypes.c_int64),  # cycles of a look when the core runs well
        ("limit", ctypes.c_int64),  # cycles above which a look is slow
        ("stall", ctypes.c_int64),  # cycles between polls above which the core stood still
        ("slow_looks", ctypes.c_int64),  # in a row
        ("good_looks", ctypes.c_int64),
        ("slowed", ctypes.c_int64),  # 1: the core does not run at its speed
        # Between the measuring program and the master.
        ("changes_a_second", ctypes.c_int64),
        ("changed", ctypes.c_int64),  # records sent to the worker
        ("failed", ctypes.c_int64),  # requests that were refused
    ]


Nic = view(NicStruct)
IN_AT, OUT_AT = NicStruct.frames_in.offset, NicStruct.frames_out.offset
DUE_TO_SENT, SEEN_TO_SENT = NicStruct.due_to_sent.offset, NicStruct.seen_to_sent.offset
BETWEEN_POLLS = NicStruct.between_polls.offset
HALF = SLOTS * 8


@compiled
def count_one(histogram, value):
    """Count a number of cycles in the histogram at an address."""
    slot = value if value > 0 else 0
    if slot > MOST:
        slot = MOST
    base = 0
    while slot >= FINE:
        slot >>= 1
        base += FINE // 2
    at = histogram + (base + slot) * 8
    store64(at, load64(at) + 1)
    return 0


@compiled
def gauge(nic):
    """Look at the core's speed.  Registers only: no table, change or neighbour of ours matters."""
    n = Nic(nic)
    took = crowd(GAUGE_STEPS)
    if took < n.fastest or n.fastest == 0:
        n.fastest = took
    if took > n.limit:
        n.slow_looks += 1
        n.good_looks = 0
    else:
        n.good_looks += 1
        n.slow_looks = 0
    if n.slow_looks == TWICE:
        n.slowed = 1
    n.gauged = rdtsc()
    return took


@compiled
def lose(nic, count, gap):
    """Packets that the queue has no room for; ``gap``: cycles since the poll before."""
    n = Nic(nic)
    n.taken += count
    if n.slowed:
        n.lost_slowed += count
    elif gap > n.stall:
        n.lost_stalled += count
    else:
        n.lost += count
    return 0


@compiled
def take(nic, array, count):
    """Receive: hand over up to ``count`` of the packets that are due."""
    n = Nic(nic)
    if n.mode == OFF:
        return 0
    now = rdtsc()
    if n.start == 0:
        n.start = now
        n.polled = now
    gap = now - n.polled
    count_one(nic + BETWEEN_POLLS + n.slowed * HALF, gap)
    n.polled = now
    if now - n.gauged > GAUGE_SPACING:
        gauge(nic)
    if n.mode == PACED:
        due = mulhi(now - n.start, n.scale) - n.taken
        if due > n.depth:
            lose(nic, due - n.depth, gap)
            due = n.depth
        if due <= count and n.good_looks >= CALM:
            n.slowed = 0
        if due < count:
            count = due
        if count == 0:
            return 0
    got = call3(n.rx_burst, n.rx_queue, array, count) & 0xFFFF
    now = rdtsc()
    for i in range(got):
        mbuf = load64(array + i * 8)
        number = n.taken + i
        store64(mbuf + NUMBER_AT, number)
        store64(mbuf + DUE_AT, n.start + ((number * n.spacing) >> 16))
        store64(mbuf + SEEN_AT, now)
        if number < SAMPLE:
            m = Mbuf(mbuf)
            copy(nic + IN_AT + number * FRAME, m.buf_addr + m.data_off, FRAME)
    n.taken += got
    n.received += got
    return got


@compiled
def give(nic, array, count):
    """Send: note how long each packet took; ARP and the like are only passed on."""
    n = Nic(nic)
    now = rdtsc()
    for i in range(count):
        mbuf = load64(array + i * 8)
        m = Mbuf(mbuf)
        data = m.buf_addr + m.data_off
        if load16(data + 12) == ETHER_IPV4:
            n.sent += 1
            half = n.slowed * HALF
            count_one(nic + DUE_TO_SENT + half, now - load64(mbuf + DUE_AT))
            count_one(nic + SEEN_TO_SENT + half, now - load64(mbuf + SEEN_AT))
            number = load64(mbuf + NUMBER_AT)
            if number < SAMPLE and n.mode == PACED:
                copy(nic + OUT_AT + number * FRAME, data, FRAME)
                n.sampled += 1
    sent = call3(n.tx_burst, n.tx_queue, array, count) & 0xFFFF
    n.refused += count - sent
    return sent


@compiled
def receive_burst(queue, array, count):
    """``take`` as a driver has it: of ``count`` 16 bits count."""
    return take(queue, array, count & 0xFFFF)


@compiled
def transmit_burst(queue, array, count):
    """``give`` likewise."""
    return give(queue, array, count & 0xFFFF)


class Installed:
    """The port ``port`` (a worker's view) with the state at ``nic`` in front of its driver."""

    def __init__(self, port: int, nic: int) -> None:
        was = FastPath(int(Port(port).fast))
        n = Nic(nic)
        n.rx_burst, n.tx_burst = was.rx_burst, was.tx_burst
        n.rx_queue = load64(was.rx_queues + int(Port(port).rx_queue) * 8)
        n.tx_queue = load64(was.tx_queues + int(Port(port).tx_queue) * 8)
        self._queue = (ctypes.c_int64 * 1)(nic)
        self._fast = FastPathStruct()
        self._fast.rx_burst = c_address(receive_burst)
        self._fast.tx_burst = c_address(transmit_burst)
        self._fast.rx_queues = self._fast.tx_queues = ctypes.addressof(self._queue)
        Port(port).fast = ctypes.addressof(self._fast)
