"""Which worker to ask for an IPv6 connection that this one does not have; see ipvs/seek.py."""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.create import swap16
from ipvs.handover6 import client_owner6, local_owner6
from ipvs.rss import queue_of6
from ipvs.rules import Rules
from ipvs.seek import placed_by_ports
from ipvs.service import Service
from ipvs.service import find6 as find_service6
from netdev.abi import Mbuf
from runtime.intrinsics import load64
from runtime.jit import compiled
from stack.context import Stack
from stack.route import LOCAL, SAPOOL
from stack.route6 import Route6, lookup6


@compiled
def _named6(ipvs, port, at, ports):
    """Worker that the tuple (32 address bytes at ``at``) names as the owner, -1 for none."""
    w = Ipvs(ipvs)
    high = load64(at + 16)
    low = load64(at + 24)
    sport = swap16(ports & 0xFFFF)
    dport = swap16((ports >> 16) & 0xFFFF)
    route = lookup6(Stack(w.stack).routes6, high, low)
    proto = (ports >> 32) & 0xFF
    if route == 0 or Route6(route).kind != LOCAL:
        if Rules(w.rules).count == 0:
            return client_owner6(high, low, dport, w.workers) if w.nat_services else w.worker
        if w.nat_services:
            return -1
    elif Route6(route).flags & SAPOOL:
        return local_owner6(ipvs, route, at, ports)
    else:
        service = find_service6(w.services, high, low, dport, proto)
        if service != 0 and Service(service).nat:
            return client_owner6(load64(at), load64(at + 8), sport, w.workers)
    if placed_by_ports(ipvs, port, proto):
        owner = queue_of6(w.rss, port, at, ports)
        return owner if owner < w.workers else w.worker
    return -1


@compiled
def seek6(ipvs, mbuf, handed, at, ports):
    """Worker to hand the packet to, -1 when it ends here."""
    w = Ipvs(ipvs)
    m = Mbuf(mbuf)
    seen = m.rss if handed else 0
    if seen >= w.workers or w.workers == 1:
        return -1
    owner = _named6(ipvs, m.port, at, ports)
    if owner >= 0:
        m.rss = w.workers + 1
        return owner if owner != w.worker else -1
    m.rss = seen + 1
    return w.worker + 1 if w.worker + 1 < w.workers else 0
