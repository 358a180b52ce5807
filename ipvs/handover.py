"""Packets that arrived at a worker which does not own their connection.

NICs with RSS that we know need none of this: local ports are chosen so that replies arrive at the
right queue.  Without that knowledge the owner is read off the packet: FullNAT replies carry it in
the low bits of the local port, NAT connections belong to the worker their client hashes to.
"""

from __future__ import annotations

from ipvs.context import HAND_AT, Ipvs
from ipvs.drops import HANDOVER_FULL
from ipvs.laddr import owner_shift
from ipvs.rss import queue_of
from runtime.intrinsics import mum, signed, store64
from runtime.jit import compiled
from runtime.pointer_ring import enqueue_burst
from stack.route import RSS_KNOWN, SAPOOL, Route

KEY_ADDRESS = signed(0x5851F42D4C957F2D)
KEY_PORT = signed(0x14057B7EF767814F)


@compiled
def hand_over(ipvs, mbuf, owner):
    """Give a packet to worker ``owner``; 0 or a drop reason."""
    w = Ipvs(ipvs)
    if w.out_rings[owner] == 0:
        return HANDOVER_FULL
    store64(ipvs + HAND_AT, mbuf)
    if enqueue_burst(w.out_rings[owner], ipvs + HAND_AT, 1) == 1:
        w.handed_out += 1
        return 0
    return HANDOVER_FULL


@compiled
def client_owner(address, port, workers):
    """Worker that owns the NAT connections of a client: the same seen from both directions."""
    mixed = mum(address ^ KEY_ADDRESS, (port << 17) ^ KEY_PORT)
    return ((mixed & 0xFFFFFF) * workers) >> 24


@compiled
def local_owner(ipvs, route, src, sport, dport):
    """Worker that owns connections with our local address ``route`` and local port ``dport``.

    This worker itself when the address is no local address of FullNAT.
    """
    w = Ipvs(ipvs)
    r = Route(route)
    if r.flags & SAPOOL == 0:
        return w.worker
    if r.flags & RSS_KNOWN:
        owner = queue_of(w.rss, r.port, src, r.prefix, sport, dport)
    else:
        owner = dport & ((1 << owner_shift(w.workers)) - 1)
    return owner if owner < w.workers else w.worker
