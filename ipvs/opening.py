"""Packets that may open a connection, and those of inside hosts that do."""

from __future__ import annotations

from ipvs.context import Packet
from ipvs.drops import NOT_SYN
from ipvs.family import from_us
from ipvs.rules import find_rule
from ipvs.snat import open_outwards
from runtime.intrinsics import load8
from runtime.jit import compiled
from stack.drops import IP_LOOP, TCP_FLAGS
from stack.headers import ETHER_LEN, PROTO_TCP

FIN, SYN, RST, ACK = 1, 2, 4, 16
NOBODYS = 0  # no reference: entry 0 is never used


@compiled
def check_opening(l4, proto):
    """0 when a packet may open a connection: a TCP SYN alone, any UDP or SCTP; or a drop reason."""
    if proto != PROTO_TCP:
        return 0
    flags = load8(l4 + 13)
    if flags & SYN and flags & (FIN | RST):
        return TCP_FLAGS
    if flags & (SYN | ACK | RST | FIN) != SYN:
        return NOT_SYN
    return 0


@compiled
def open_from_inside(ipvs, packet, l4, oif, sport, dport):
    """New connection for the first packet of an inside host, leaving by port index ``oif``.

    Its reference, minus a drop reason, or NOBODYS when no match service takes it.
    """
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    service = find_rule(ipvs, packet, oif, sport, dport)
    if service == 0:
        return NOBODYS
    reason = check_opening(l4, (k.ports >> 32) & 0xFF)
    if reason != 0:
        return -reason
    if from_us(ipvs, l3):
        return -IP_LOOP
    return open_outwards(ipvs, service, packet)
