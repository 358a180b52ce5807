"""ICMP echo through SNAT (RFC 5508): requests of inside hosts and the answers to them."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import HANDOVER_LOST
from ipvs.entry import tuple_hash
from ipvs.handover import hand_over
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.laddr import owner_shift
from ipvs.outward import forward_outward
from ipvs.rules import find_rule
from ipvs.snat import open_outwards
from runtime.intrinsics import load8, load16, load64
from runtime.jit import compiled
from stack.arp import is_local
from stack.context import Stack
from stack.drops import IP_LOOP
from stack.headers import ETHER_LEN, PROTO_ICMP, Ipv4
from stack.icmp import ECHO, ECHO_REPLY
from stack.ipv4 import receive_ipv4
from stack.route import LOCAL, SAPOOL, Route, lookup


@compiled
def echo_ports(kind, identifier):
    """What stands for the ports of an echo: the identifier at the asker's end (all raw)."""
    word = identifier if kind == ECHO else identifier << 16
    return word | (PROTO_ICMP << 32)


@compiled
def _unknown(ipvs, packet, handed, icmp):
    """An echo of no connection: one to open, an answer for another worker, or the stack's."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    ip = Ipv4(k.data + ETHER_LEN)
    route = lookup(Stack(w.stack).routes, ip.dst)
    if route != 0 and Route(route).kind == LOCAL:
        if load8(icmp) == ECHO_REPLY and Route(route).flags & SAPOOL:
            identifier = (load8(icmp + 4) << 8) | load8(icmp + 5)
            owner = identifier & ((1 << owner_shift(w.workers)) - 1)
            if handed:
                return HANDOVER_LOST
            if owner < w.workers and owner != w.worker:
                return hand_over(ipvs, k.mbuf, owner)
        return receive_ipv4(w.stack, k.mbuf, k.data)
    service = find_rule(ipvs, packet, route, 0, 0) if load8(icmp) == ECHO else 0
    if service == 0:
        return receive_ipv4(w.stack, k.mbuf, k.data)
    if is_local(w.stack, ip.src, -1):
        return IP_LOOP
    reference = open_outwards(ipvs, service, packet)
    if reference < 0:
        return -reference
    return forward_outward(ipvs, packet, reference, icmp)


@compiled
def receive_echo(ipvs, packet, handed, icmp):
    """A checked echo request or reply (header at ``icmp``); 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    k.addresses = load64(k.data + ETHER_LEN + 12)
    k.ports = echo_ports(load8(icmp), load16(icmp + 4))
    hashed = tuple_hash(w.index + SEED_AT, k.addresses, k.ports)
    reference = find(w.index, home(w.index, hashed), tag_of(hashed), k.addresses, k.ports)
    if reference != 0:
        return forward_outward(ipvs, packet, reference, icmp)
    return _unknown(ipvs, packet, handed, icmp)


@compiled
def is_echo(icmp, length):
    """1 for a whole echo request or reply."""
    if length < 8 or load8(icmp + 1) != 0:
        return 0
    kind = load8(icmp)
    if kind != ECHO and kind != ECHO_REPLY:
        return 0
    return 1
