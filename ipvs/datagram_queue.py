"""Fragments that wait: a few and not for long.

Those that come before the first of their datagram wait for it, and an SCTP packet's first one
itself until the last tells how long the packet is.  The queues are chained through the mbufs.
"""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.datagrams import Datagram, Datagrams
from ipvs.drops import FRAG_QUEUE
from netdev.abi import Mbuf
from runtime.jit import compiled
from stack.neigh import drop

WAIT_EACH = 48  # 64 KB in frames of 1500 bytes, the first one last
WAIT_ALL = 256  # packets of the pool that fragments without a first one may hold


@compiled
def take_waiting(ipvs, datagram):
    """First mbuf of the queue, off it, or 0."""
    d = Datagram(datagram)
    mbuf = d.waiting
    if mbuf == 0:
        return 0
    d.waiting = Mbuf(mbuf).tx_offload
    Mbuf(mbuf).tx_offload = 0
    d.waiting_count -= 1
    Datagrams(Ipvs(ipvs).datagrams).waiting -= 1
    return mbuf


@compiled
def drop_waiting(ipvs, datagram, reason):
    """Drop the whole queue."""
    mbuf = take_waiting(ipvs, datagram)
    while mbuf != 0:
        drop(Ipvs(ipvs).stack, mbuf, reason)
        mbuf = take_waiting(ipvs, datagram)
    return 0


@compiled
def has_room(ipvs, datagram):
    """1 when one more fragment may wait."""
    full = Datagram(datagram).waiting_count >= WAIT_EACH
    return 0 if full or Datagrams(Ipvs(ipvs).datagrams).waiting >= WAIT_ALL else 1


@compiled
def hold_first(ipvs, datagram, mbuf, handed, l4):
    """Let the first fragment, ports ``l4`` bytes behind its frame's begin, wait for the last one;
    0 or a drop reason."""
    if has_room(ipvs, datagram) == 0:
        return FRAG_QUEUE
    d = Datagram(datagram)
    Mbuf(mbuf).tx_offload = d.waiting
    if d.waiting == 0:
        d.last = mbuf
    d.waiting = mbuf
    d.held = l4
    d.handed = handed
    d.waiting_count += 1
    Datagrams(Ipvs(ipvs).datagrams).waiting += 1
    return 0


@compiled
def wait(ipvs, datagram, mbuf):
    """Let a fragment wait until the first one went its way; 0 or a drop reason."""
    if has_room(ipvs, datagram) == 0:
        return FRAG_QUEUE
    d = Datagram(datagram)
    t = Datagrams(Ipvs(ipvs).datagrams)
    Mbuf(mbuf).tx_offload = 0
    if d.waiting == 0:
        d.waiting = mbuf
    else:
        Mbuf(d.last).tx_offload = mbuf
    d.last = mbuf
    d.waiting_count += 1
    t.waiting += 1
    return 0
