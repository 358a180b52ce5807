"""A TCP or UDP packet without connection: a new one, another worker's, or a drop."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.create import create, swap16
from ipvs.drops import HANDOVER_LOST, NO_SERVICE, NOT_SYN
from ipvs.family import NO_WAY
from ipvs.handover import client_owner, hand_over, local_owner
from ipvs.index import find
from ipvs.known import forward_known
from ipvs.one_packet import end_one_packet
from ipvs.opening import NOBODYS, check_opening, open_from_inside
from ipvs.service import Service
from ipvs.service import find as find_service
from runtime.jit import compiled
from stack.arp import is_local
from stack.context import Stack
from stack.drops import IP_LOOP, L4_PORT_ZERO
from stack.headers import ETHER_LEN, Ipv4
from stack.ipv4 import check_addresses, receive_ipv4
from stack.route import LOCAL, Route, lookup


@compiled
def _begin_with(ipvs, packet, reference, l4):
    """Forward the first packet of the connection just made (minus a reason when it was not)."""
    if reference < 0:
        return -reference
    reason = forward_known(ipvs, packet, reference, l4)
    end_one_packet(ipvs, reference, reason)
    return reason


@compiled
def open_connection(ipvs, service, packet, handed, l4, proto):
    """First packet to a virtual service; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    reason = check_opening(l4, proto)
    nat_elsewhere = w.workers > 1 and handed == 0 and Service(service).nat != 0
    if nat_elsewhere and (reason == 0 or reason == NOT_SYN):
        client = Ipv4(k.data + ETHER_LEN).src
        owner = client_owner(client, swap16(k.ports & 0xFFFF), w.workers)
        if owner != w.worker:
            return hand_over(ipvs, k.mbuf, owner)
    if reason != 0:
        return reason
    if is_local(w.stack, Ipv4(k.data + ETHER_LEN).src, -1):
        return IP_LOOP
    return _begin_with(ipvs, packet, create(ipvs, service, packet), l4)


@compiled
def no_service(ipvs, packet, handed, l4, sport, dport):
    """TCP or UDP to no virtual service: a reply for another worker, from inside, to forward, or to
    drop."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    s = Stack(w.stack)
    ip = Ipv4(k.data + ETHER_LEN)
    route = lookup(s.routes, ip.dst)
    local = route != 0 and Route(route).kind == LOCAL
    if w.workers > 1 and handed == 0:
        owner = w.worker
        if local:
            owner = local_owner(ipvs, route, ip.src, sport, dport)
        elif w.nat_services != 0:
            owner = client_owner(ip.dst, dport, w.workers)
        if owner != w.worker:
            return hand_over(ipvs, k.mbuf, owner)
    if local:
        return HANDOVER_LOST if handed else NO_SERVICE
    oif = Route(route).port if route != 0 else NO_WAY
    reference = open_from_inside(ipvs, packet, l4, oif, sport, dport)
    if reference == NOBODYS:
        return receive_ipv4(w.stack, k.mbuf, k.data)
    return _begin_with(ipvs, packet, reference, l4)


@compiled
def miss(ipvs, packet, handed, l4):
    """A packet whose tuple was not found when its burst was looked up; 0 or a drop reason.

    Looks again first: an earlier packet of the same burst may have opened the connection.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    reference = find(w.index, k.bucket, k.tag, k.addresses, k.ports)
    if reference != 0:
        return forward_known(ipvs, packet, reference, l4)
    ip = Ipv4(k.data + ETHER_LEN)
    reason = check_addresses(ip.src, ip.dst)
    if reason != 0:
        return reason
    sport = swap16(k.ports & 0xFFFF)
    dport = swap16((k.ports >> 16) & 0xFFFF)
    if sport == 0 or dport == 0:
        return L4_PORT_ZERO
    service = find_service(w.services, ip.dst, dport, ip.proto)
    if service != 0:
        return open_connection(ipvs, service, packet, handed, l4, ip.proto)
    return no_service(ipvs, packet, handed, l4, sport, dport)
