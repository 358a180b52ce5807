"""The worker's iteration taken apart: the same stages in the same order, a clock between them.

One read of the time stamp counter per stage and burst costs under a cycle a packet.
"""

from __future__ import annotations

from ipvs.classify import classify
from ipvs.context import MBUFS_AT, Ipvs
from ipvs.expire import expire
from ipvs.loop import EXPIRE_BUDGET, Control, flush_ports, milliseconds
from ipvs.poll import handle, look_up, mark_port
from netdev.port import Port, receive
from runtime.intrinsics import load64, rdtsc, store64
from runtime.jit import compiled
from stack.context import Stack

STAGES = ("receive", "mark_port", "classify", "look_up", "handle", "expire", "transmit")


@compiled
def _lap(out, number, since):
    """Add the time since ``since`` to stage ``number``; returns now."""
    now = rdtsc()
    store64(out + number * 8, load64(out + number * 8) + now - since)
    return now


@compiled
def staged_run(ipvs, iterations, out):
    """Iterate over port 0, adding up cycles per stage in ``out``; returns packets."""
    w = Ipvs(ipvs)
    s = Stack(w.stack)
    scale = Control(w.control).tsc_scale
    port = s.ports[0]
    p = Port(port)
    total = 0
    now = rdtsc()
    for _ in range(iterations):
        s.now = milliseconds(scale, now)
        count = receive(port, ipvs + MBUFS_AT)
        now = _lap(out, 0, now)
        p.rx_packets += count
        p.rx_bytes += mark_port(ipvs, count, 0)
        now = _lap(out, 1, now)
        classify(ipvs, count)
        now = _lap(out, 2, now)
        look_up(ipvs, count)
        now = _lap(out, 3, now)
        handle(ipvs, count, 0)
        now = _lap(out, 4, now)
        expire(ipvs, EXPIRE_BUDGET)
        now = _lap(out, 5, now)
        flush_ports(w.stack)
        now = _lap(out, 6, now)
        total += count
    return total
