"""Compiled measuring loops around, never inside, the packet path."""

from __future__ import annotations

import time

from ipvs.loop import run
from netdev.abi import FastPath
from netdev.port import BURST
from runtime.intrinsics import call3, load64, mum, rdtsc, shr, store64, wrap
from runtime.jit import compiled


@compiled
def timed_run(ipvs, iterations, out):
    """The worker's own loop for ``iterations``; TSC cycles go to ``out``.  Returns LEFT_*."""
    began = rdtsc()
    left = run(ipvs, iterations)
    store64(out, rdtsc() - began)
    return left


@compiled
def bounce(fast, array, iterations, out):
    """Receive bursts on queue 0 of a port and send them back untouched: the driver's own cost.

    ``array`` has room for a burst.  ``out`` receives cycles, packets received, packets sent.
    """
    f = FastPath(fast)
    received = 0
    sent = 0
    began = rdtsc()
    for _ in range(iterations):
        count = call3(f.rx_burst, load64(f.rx_queues), array, BURST) & 0xFFFF
        if count != 0:
            received += count
            sent += call3(f.tx_burst, load64(f.tx_queues), array, count) & 0xFFFF
    store64(out, rdtsc() - began)
    store64(out + 8, received)
    store64(out + 16, sent)
    return received


def tsc_hz() -> float:
    """Frequency of the time stamp counter, measured against the clock for 50 ms (no EAL)."""
    began, clock = rdtsc_now(), time.perf_counter()
    time.sleep(0.05)
    return float(rdtsc_now() - began) / (time.perf_counter() - clock)


@compiled
def rdtsc_now():
    """The time stamp counter."""
    return rdtsc()


@compiled
def spin(steps):
    """Cycles of ``steps`` dependent multiplications: how fast the core runs beside its TSC."""
    began = rdtsc()
    x = began | 1
    for _ in range(steps):
        x = mum(x, x | 1)
    ended = rdtsc()
    return ended - began + (1 if x == 0 else 0)  # x counts, or the loop would be left out


@compiled
def crowd(steps):
    """Cycles of ``steps`` rounds of many independent operations.

    They fill the execution ports, so they take longer when the core's other hardware thread
    (another program, or another virtual machine) is at work.
    """
    began = rdtsc()
    a = began | 1
    b = began | 2
    c = began | 4
    d = began | 8
    for _ in range(steps):
        a = a ^ wrap(a << 13)
        b = b ^ wrap(b << 17)
        c = c ^ wrap(c << 5)
        d = d ^ wrap(d << 11)
        a = a ^ shr(a, 7)
        b = b ^ shr(b, 9)
        c = c ^ shr(c, 3)
        d = d ^ shr(d, 19)
    ended = rdtsc()
    return ended - began + (1 if (a ^ b ^ c ^ d) == 0 else 0)
