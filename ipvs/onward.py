"""Packets that were changed inside: their rewrite, whatever the families of their connection."""

from __future__ import annotations

from ipvs.context import Packet
from ipvs.entry import S_NAT64, Entry
from ipvs.rewrite6 import rewrite_l4, write_addresses6
from ipvs.room import is_six, l3_of
from ipvs.steps import depart, rewrite, send, send_fitting
from ipvs.steps6 import depart6
from ipvs.to_ipv4 import NOT_FRAGMENTED, send_as_ipv4
from runtime.jit import compiled
from stack.headers import IP6_LEN, PROTO_OPTIONS, Ipv6


@compiled
def set_out(ipvs, packet, entry, side):
    """``depart`` for a packet of either family that stays in it."""
    if is_six(l3_of(packet)):
        return depart6(ipvs, packet, entry, side)
    return depart(ipvs, packet, entry, side)


@compiled
def content_of(l3, l4):
    """Address of an IPv6 packet's content: UOA's header stands before UDP's."""
    return l3 + IP6_LEN if Ipv6(l3).next == PROTO_OPTIONS else l4


@compiled
def send_on(ipvs, packet, entry, side, hop, l4, proto):
    """Last steps of a packet that arrived on ``side``: rewrite and send; 0 or a drop reason."""
    k = Packet(packet)
    l3 = l3_of(packet)
    if is_six(l3) == 0:
        rewrite(l3, l4, entry, side, proto)
        return send_fitting(ipvs, packet, entry, side, hop)
    if Entry(entry).special & S_NAT64:
        at = content_of(l3, l4)
        return send_as_ipv4(ipvs, packet, entry, hop, at, l4, NOT_FRAGMENTED)
    write_addresses6(l3, entry, side)
    rewrite_l4(l4, entry, side, proto)
    return send(ipvs, hop, k.mbuf, k.data)
