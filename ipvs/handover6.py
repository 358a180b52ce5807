"""Which worker owns the connection of an IPv6 packet; see ipvs/handover.py."""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.handover import KEY_ADDRESS, KEY_PORT, client_owner
from ipvs.laddr import owner_shift
from ipvs.rss import queue_of6
from runtime.intrinsics import mum
from runtime.jit import compiled
from stack.headers import PROTO_ICMP6
from stack.route import RSS_KNOWN, SAPOOL
from stack.route6 import Route6


@compiled
def client_owner6(high, low, port, workers):
    """Worker that owns the NAT connections of an IPv6 client (raw address halves, port)."""
    return client_owner(mum(high ^ KEY_ADDRESS, low ^ KEY_PORT) & 0xFFFFFFFF, port, workers)


@compiled
def local_owner6(ipvs, route, at, ports):
    """Worker that owns connections with our local address ``route``: its reply has the 32 address
    bytes at ``at`` and these raw ports.  This worker itself when it is no address of FullNAT."""
    w = Ipvs(ipvs)
    r = Route6(route)
    if r.flags & SAPOOL == 0:
        return w.worker
    # Nothing of an ICMP echo is known to RSS but its addresses.
    if r.flags & RSS_KNOWN and (ports >> 32) & 0xFF != PROTO_ICMP6:
        owner = queue_of6(w.rss, r.port, at, ports)
    else:
        # The low bits of the port; its low byte is the fourth of the raw word.
        owner = (ports >> 24) & 0xFF & ((1 << owner_shift(w.workers)) - 1)
    return owner if owner < w.workers else w.worker
