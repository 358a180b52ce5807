"""Which worker to ask for a connection that this one does not have.

For packets that RSS does not place by their ports: ICMP errors and fragments.  The tuple names the
owner where local ports, the client's hash or the NIC's RSS do; else every worker is asked in turn.
"""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.handover import client_owner, local_owner
from ipvs.laddr import owner_shift
from ipvs.rss import Rss, queue_of
from ipvs.rules import Rules
from ipvs.service import Service
from ipvs.service import find as find_service
from netdev.abi import Mbuf
from runtime.jit import compiled
from stack.context import Stack
from stack.headers import PROTO_ICMP, PROTO_TCP, PROTO_UDP
from stack.route import LOCAL, SAPOOL, Route, lookup


@compiled
def placed_by_ports(ipvs, port, proto):
    """1 when we know on which queue of a port whole packets of a protocol arrive.

    Many NICs hash of SCTP the addresses alone, and of ICMP all do.
    """
    known = Rss(Ipvs(ipvs).rss).port[port].size != 0
    return 1 if known and (proto == PROTO_TCP or proto == PROTO_UDP) else 0


@compiled
def _named(ipvs, port, src, dst, sport, dport, proto):
    """Worker that the tuple names as the owner, -1 when it names none."""
    w = Ipvs(ipvs)
    route = lookup(Stack(w.stack).routes, dst)
    if route == 0 or Route(route).kind != LOCAL:
        if Rules(w.rules).count == 0:
            return client_owner(dst, dport, w.workers) if w.nat_services else w.worker
        if w.nat_services:
            return -1  # its client's worker, or the one that an inside host's packets arrive at
    elif Route(route).flags & SAPOOL:
        if proto != PROTO_ICMP:
            return local_owner(ipvs, route, src, sport, dport)
        owner = dport & ((1 << owner_shift(w.workers)) - 1)  # an echo's identifier
        return owner if owner < w.workers else w.worker
    else:
        service = find_service(w.services, dst, dport, proto)
        if service != 0 and Service(service).nat:
            return client_owner(src, sport, w.workers)
    if placed_by_ports(ipvs, port, proto):
        owner = queue_of(w.rss, port, src, dst, sport, dport)
        return owner if owner < w.workers else w.worker
    return -1


@compiled
def go_round(ipvs, mbuf, handed):
    """The next of all workers, one after another; -1 where the packet began, see ``seek``."""
    w = Ipvs(ipvs)
    m = Mbuf(mbuf)
    seen = m.rss if handed else 0
    if seen >= w.workers or w.workers == 1:
        return -1
    m.rss = seen + 1
    return w.worker + 1 if w.worker + 1 < w.workers else 0


@compiled
def seek(ipvs, mbuf, handed, src, dst, sport, dport, proto):
    """Worker to hand the packet to, -1 when it ends here; the tuple is in host order.

    The mbuf's hash field, of no use behind the NIC, counts how many workers have seen the packet,
    so none sees it twice but the first, where it returns when nobody knew it.  One more than there
    are workers stands for an owner that was named.
    """
    w = Ipvs(ipvs)
    m = Mbuf(mbuf)
    seen = m.rss if handed else 0
    if seen >= w.workers or w.workers == 1:
        return -1
    owner = _named(ipvs, m.port, src, dst, sport, dport, proto)
    if owner >= 0:
        m.rss = w.workers + 1
        return owner if owner != w.worker else -1
    return go_round(ipvs, mbuf, handed)


@compiled
def came_back(ipvs, mbuf, handed):
    """1 when a packet went round all workers and nobody knew it: it is back where it arrived."""
    return 1 if (handed and Mbuf(mbuf).rss == Ipvs(ipvs).workers) else 0
