"""The endless loop of a worker.  It leaves compiled code only when there is something to tell."""

from __future__ import annotations

import ctypes

from ipvs.context import Ipvs
from ipvs.expire import expire
from ipvs.poll import poll_ports, poll_rings
from ipvs.stages import HOUSEKEEPING, TRANSMIT, begin, lap
from netdev.port import flush
from runtime.heartbeat_loop import beat, must_stop
from runtime.intrinsics import call1, cpu_pause, load_acquire, mulhi, rdtsc
from runtime.jit import compiled
from runtime.pointers import view
from stack.arp import age
from stack.context import Stack
from stack.events import EventQueue

EXPIRE_BUDGET = 64  # connections looked at per iteration
AGE_BUDGET = 64  # neighbours looked at per housekeeping
AGE_EVERY_MS = 50
SPIN = 256  # empty iterations before the first pause
PAUSE = 1024  # empty iterations before the first sleep

LEFT_STOP = 1
LEFT_MESSAGE = 2
LEFT_EVENT = 3
LEFT_LIMIT = 4


class ControlStruct(ctypes.Structure):
    """What steers the loop, and its pulse (shared memory: the master reads it)."""

    _fields_ = [
        ("life", ctypes.c_int64),  # address of the LifeBlock: heartbeat out, stop in
        ("ring_head", ctypes.c_int64),  # address of the request ring's producer count
        ("ring_tail", ctypes.c_int64),  # address of the request ring's consumer count
        ("iterations", ctypes.c_int64),
        ("idle_sleep_us", ctypes.c_int64),  # longest sleep when idle, 0 = always poll
        ("sleep", ctypes.c_int64),  # address of rte_delay_us_sleep
        ("tsc_scale", ctypes.c_int64),  # 2**64 * 1000 / Hz: TSC -> ms
        ("empty", ctypes.c_int64),  # consecutive iterations without a packet
        ("sleeps", ctypes.c_int64),
        ("aged", ctypes.c_int64),  # ms of the last housekeeping
        ("busy_tsc", ctypes.c_int64),  # cycles of iterations that had packets
        ("idle_tsc", ctypes.c_int64),
        ("excursion_tsc", ctypes.c_int64),  # longest time outside compiled code
        ("packets", ctypes.c_int64),
    ]


Control = view(ControlStruct)


@compiled
def milliseconds(scale, tsc):
    """Millisecond clock of all workers, from the time stamp counter; wraps at 2**32."""
    return mulhi(tsc, scale) & 0xFFFFFFFF


@compiled
def flush_ports(stack):
    """Transmit what the last bursts gathered."""
    s = Stack(stack)
    for index in range(s.port_count):
        flush(s.ports[index])


@compiled
def rest(control):
    """Adaptive idling: spin, then pause, then sleep ever longer up to the configured limit."""
    c = Control(control)
    empty = c.empty + 1
    c.empty = empty
    if c.idle_sleep_us == 0 or empty < SPIN:
        return 0
    if empty < PAUSE:
        cpu_pause()
        return 0
    sleep = 10 + ((empty - PAUSE) >> 3)
    if sleep > c.idle_sleep_us:
        sleep = c.idle_sleep_us
    c.sleeps += 1
    call1(c.sleep, sleep)
    return sleep


@compiled
def iterate(ipvs):
    """One round: receive everywhere, process, transmit, keep house.  Returns packets."""
    w = Ipvs(ipvs)
    c = Control(w.control)
    s = Stack(w.stack)
    s.now = milliseconds(c.tsc_scale, rdtsc())
    packets = poll_ports(ipvs)
    if w.workers > 1:
        packets += poll_rings(ipvs)
    at = begin(ipvs)
    expire(ipvs, EXPIRE_BUDGET)
    if (s.now - c.aged) & 0xFFFFFFFF >= AGE_EVERY_MS:
        c.aged = s.now
        age(w.stack, AGE_BUDGET)
    at = lap(ipvs, HOUSEKEEPING, at)
    flush_ports(w.stack)
    if packets > 0:
        lap(ipvs, TRANSMIT, at)
    return packets


@compiled
def run(ipvs, limit):
    """Iterate until a message, an event, a stop, or ``limit`` iterations; returns LEFT_*."""
    w = Ipvs(ipvs)
    c = Control(w.control)
    queue = EventQueue(Stack(w.stack).events)
    began = rdtsc()
    for _ in range(limit):
        packets = iterate(ipvs)
        c.iterations += 1
        beat(c.life)
        ended = rdtsc()
        if packets > 0:
            c.packets += packets
            c.busy_tsc += ended - began
            c.empty = 0
        else:
            c.idle_tsc += ended - began
        began = ended
        if must_stop(c.life):
            return LEFT_STOP
        if load_acquire(c.ring_head) != load_acquire(c.ring_tail):
            return LEFT_MESSAGE
        if queue.head != queue.tail:
            return LEFT_EVENT
        if packets == 0:
            rest(w.control)
            began = rdtsc()
            c.idle_tsc += began - ended
    return LEFT_LIMIT
