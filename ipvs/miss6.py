"""An IPv6 TCP or UDP packet without connection; see ipvs/miss.py."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.create import swap16
from ipvs.create6 import create6
from ipvs.drops import HANDOVER_LOST, NO_SERVICE, NOT_SYN
from ipvs.family import NO_WAY
from ipvs.handover import hand_over
from ipvs.handover6 import client_owner6, local_owner6
from ipvs.index import find
from ipvs.one_packet import end_one_packet
from ipvs.opening import NOBODYS, check_opening, open_from_inside
from ipvs.service import Service
from ipvs.service import find6 as find_service6
from ipvs.wide import forward_wide
from runtime.intrinsics import load64
from runtime.jit import compiled
from stack.check6 import check_addresses6
from stack.context import Stack
from stack.drops import IP_LOOP, L4_PORT_ZERO
from stack.headers import ETHER_LEN, IP6_DST, IP6_SRC
from stack.ipv6 import receive_ipv6
from stack.local6 import local6
from stack.route import LOCAL
from stack.route6 import Route6, lookup6


@compiled
def _begin_with(ipvs, packet, reference, l4):
    """Forward the first packet of the connection just made (minus a reason when it was not)."""
    if reference < 0:
        return -reference
    reason = forward_wide(ipvs, packet, reference, l4)
    end_one_packet(ipvs, reference, reason)
    return reason


@compiled
def _open6(ipvs, service, packet, handed, l4, proto):
    """First packet to a virtual service; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    source = k.data + ETHER_LEN + IP6_SRC
    high = load64(source)
    low = load64(source + 8)
    reason = check_opening(l4, proto)
    nat_elsewhere = w.workers > 1 and handed == 0 and Service(service).nat != 0
    if nat_elsewhere and (reason == 0 or reason == NOT_SYN):
        owner = client_owner6(high, low, swap16(k.ports & 0xFFFF), w.workers)
        if owner != w.worker:
            return hand_over(ipvs, k.mbuf, owner)
    if reason != 0:
        return reason
    if local6(w.stack, high, low, -1):
        return IP_LOOP
    return _begin_with(ipvs, packet, create6(ipvs, service, packet), l4)


@compiled
def _no_service6(ipvs, packet, handed, l4, sport, dport):
    """TCP or UDP that no service wants: a reply for another worker, from inside, to forward, or to
    drop."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    high = load64(l3 + IP6_DST)
    low = load64(l3 + IP6_DST + 8)
    route = lookup6(Stack(w.stack).routes6, high, low)
    local = route != 0 and Route6(route).kind == LOCAL
    if w.workers > 1 and handed == 0:
        owner = w.worker
        if local:
            owner = local_owner6(ipvs, route, l3 + IP6_SRC, k.ports)
        elif w.nat_services != 0:
            owner = client_owner6(high, low, dport, w.workers)
        if owner != w.worker:
            return hand_over(ipvs, k.mbuf, owner)
    if local:
        return HANDOVER_LOST if handed else NO_SERVICE
    oif = Route6(route).port if route != 0 else NO_WAY
    reference = open_from_inside(ipvs, packet, l4, oif, sport, dport)
    if reference == NOBODYS:
        return receive_ipv6(w.stack, k.mbuf, k.data)
    return _begin_with(ipvs, packet, reference, l4)


@compiled
def miss6(ipvs, packet, handed, l4):
    """A packet whose tuple was not found when its burst was looked up; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    reference = find(w.index, k.bucket, k.tag, k.addresses, k.ports)
    if reference != 0:
        return forward_wide(ipvs, packet, reference, l4)
    l3 = k.data + ETHER_LEN
    reason = check_addresses6(l3)
    if reason != 0:
        return reason
    sport = swap16(k.ports & 0xFFFF)
    dport = swap16((k.ports >> 16) & 0xFFFF)
    proto = (k.ports >> 32) & 0xFF
    high = load64(l3 + IP6_DST)
    low = load64(l3 + IP6_DST + 8)
    if sport == 0 or dport == 0:
        if local6(w.stack, high, low, -1):
            return L4_PORT_ZERO
        return receive_ipv6(w.stack, k.mbuf, k.data)
    service = find_service6(w.services, high, low, dport, proto)
    if service != 0:
        return _open6(ipvs, service, packet, handed, l4, proto)
    return _no_service6(ipvs, packet, handed, l4, sport, dport)
