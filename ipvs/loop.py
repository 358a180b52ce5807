"""The endless loop of a worker.  It leaves compiled code only to end."""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.control import WAIT_AT, Control
from ipvs.datagram_table import age_datagrams
from ipvs.expire import expire
from ipvs.poll import poll_ports, poll_rings
from ipvs.stages import HOUSEKEEPING, TRANSMIT, begin, lap
from ipvs.sweep import sweep
from ipvs.visit import VISIT_AT, visit
from netdev.port import flush
from runtime.heartbeat_loop import beat, must_stop
from runtime.intrinsics import call1, call4, cpu_pause, load_acquire, mulhi, rdtsc
from runtime.jit import compiled
from stack.context import Stack
from stack.upkeep import age

EXPIRE_BUDGET = 64  # connections looked at per iteration
AGE_BUDGET = 64  # neighbours looked at per housekeeping
DATAGRAM_BUDGET = 128  # records of fragmented datagrams, too
SWEEP_BUDGET = 16  # groups of 8 buckets of templates, too
AGE_EVERY_MS = 50
SPIN = 256  # empty iterations before the first pause
LONGEST_WAIT = 999_999  # us: a timespec has less than a second of nanoseconds
PAUSE = 1024  # empty iterations before the first sleep

LEFT_STOP = 1
LEFT_LIMIT = 2


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
    return 0


@compiled
def rest(control):
    """Adaptive idling: spin, then pause, then sleep ever longer up to the configured limit.

    Where there are descriptors to wait for, looking for a packet is a system call: a few looks are
    enough, and the sleep ends when a packet comes.
    """
    c = Control(control)
    empty = c.empty + 1
    c.empty = empty
    if c.idle_sleep_us == 0 or empty < SPIN:
        return 0
    waits = c.wait_count
    if empty < PAUSE and waits == 0:
        cpu_pause()
        return 0
    sleep = 10 + ((empty - (SPIN if waits else PAUSE)) >> 3)
    if sleep > c.idle_sleep_us:
        sleep = c.idle_sleep_us
    c.sleeps += 1
    if waits:
        c.wait_nanoseconds = min(sleep, LONGEST_WAIT) * 1000
        call4(c.ppoll, c.wait_set, waits, control + WAIT_AT, 0)
    else:
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
        age_datagrams(ipvs, DATAGRAM_BUDGET)
        sweep(ipvs, SWEEP_BUDGET)
    at = lap(ipvs, HOUSEKEEPING, at)
    flush_ports(w.stack)
    if packets > 0:
        lap(ipvs, TRANSMIT, at)
    return packets


@compiled
def run(ipvs, limit):
    """Iterate until a stop or ``limit`` iterations; returns LEFT_*."""
    w = Ipvs(ipvs)
    c = Control(w.control)
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
        if load_acquire(w.control + VISIT_AT) != 0:
            visit(ipvs)
            began = rdtsc()
        elif packets == 0:
            rest(w.control)
            began = rdtsc()
            c.idle_tsc += began - ended
    return LEFT_LIMIT
