"""ICMP errors of routers between us and a tunnel's end, told to the client.

They are about the outer packet, which we sent; the client sent what is inside (RFC 2003 section 4,
RFC 2473 section 8, RFC 4213 3.4).  The new error stands directly in front of the inner packet, in
place of the outer one.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import ICMP_LOW_MTU, ICMP_UNRELATED
from ipvs.handover import hand_over
from ipvs.seek import go_round
from ipvs.tunnel_inner import connection_of, goes_in
from ipvs.tunnel_told import BROKEN, tell4, tell6
from ipvs.types64 import plateau
from runtime.intrinsics import load64
from runtime.jit import compiled
from stack.arp import is_local
from stack.checksum import checksum6
from stack.drops import IP_LOOP
from stack.drops6 import ICMP6_CHECKSUM, IP6_LOOP
from stack.headers import (
    ETHER_LEN,
    IP6_DST,
    IP6_MIN_MTU,
    IP6_SRC,
    PROTO_ICMP6,
    PROTO_IPIP,
    PROTO_IPV6,
    Icmp,
    Ipv4,
)
from stack.icmp import FRAG_NEEDED, PORT_UNREACHABLE, TIME_EXCEEDED, UNREACHABLE
from stack.icmp6 import PORT_UNREACHABLE6, TIME_EXCEEDED6, TOO_BIG6, UNREACHABLE6
from stack.ipv6 import receive_ipv6
from stack.local6 import local6

REJECTED = 6  # the last code of unreachable that RFC 4443 knows


@compiled
def is_tunnel(proto):
    """1 for the protocols of IP inside of IP."""
    return 1 if (proto == PROTO_IPIP or proto == PROTO_IPV6) else 0


@compiled
def _says4(icmp):
    """Bytes that the path takes as an ICMP error says, BROKEN, or minus a drop reason.

    The client could not make sense of the rest: ports, source routes, reassembly, parameters.
    """
    told = Icmp(icmp)
    if told.type == TIME_EXCEEDED and told.code == 0:
        return BROKEN
    if told.type != UNREACHABLE or told.code > FRAG_NEEDED or told.code == PORT_UNREACHABLE:
        return -ICMP_UNRELATED
    if told.code != FRAG_NEEDED:
        return BROKEN
    mtu = told.rest & 0xFFFF
    return mtu if mtu != 0 else plateau(Ipv4(icmp + 8).total)


@compiled
def _says6(icmp):
    """The same of an ICMPv6 error.  We send no encapsulation limit that one could be about."""
    told = Icmp(icmp)
    if told.type == TOO_BIG6:  # whatever its code, RFC 4443 3.2
        return told.rest if told.rest >= IP6_MIN_MTU else -ICMP_LOW_MTU
    if told.type == TIME_EXCEEDED6 and told.code == 0:
        return BROKEN
    if told.type == UNREACHABLE6 and told.code <= REJECTED and told.code != PORT_UNREACHABLE6:
        return BROKEN
    return -ICMP_UNRELATED


@compiled
def _relay(ipvs, packet, handed, outer, inner, end, six, says):
    """Tell the client of the packet between ``inner`` and ``end``; 0 or a drop reason."""
    if says < 0:
        return -says
    reference = connection_of(ipvs, inner, end - inner, six)
    if reference < 0:
        return -reference
    if reference == 0:
        # Of the client's tuple nothing tells where it came in.
        owner = go_round(ipvs, Packet(packet).mbuf, handed)
        return hand_over(ipvs, Packet(packet).mbuf, owner) if owner >= 0 else ICMP_UNRELATED
    if goes_in(ipvs, reference, outer) == 0:
        return ICMP_UNRELATED
    # May come out as nothing or less: nobody is told less than what every link takes.
    room = BROKEN if says == BROKEN else max(says - (inner - outer), 1)
    if six:
        return tell6(ipvs, packet, inner, end, room)
    return tell4(ipvs, packet, inner, end, room)


@compiled
def relay(ipvs, packet, handed, icmp, length):
    """A checked ICMP error of ``length`` bytes about a tunnel's packet of ours; 0 or a reason."""
    if is_local(Ipvs(ipvs).stack, Ipv4(Packet(packet).data + ETHER_LEN).src, -1):
        return IP_LOOP
    outer = Ipv4(icmp + 8)
    inner = outer.ptr + (outer.ver_ihl & 15) * 4
    six = 1 if outer.proto == PROTO_IPV6 else 0
    return _relay(ipvs, packet, handed, outer.ptr, inner, icmp + length, six, _says4(icmp))


@compiled
def relay6(ipvs, packet, handed, icmp, length, found):
    """An ICMPv6 error about a packet of its target's that has IP inside; 0 or a drop reason.

    ``found``: protocol of what is inside | its offset in the quotation << 8.  Errors about other
    hosts' tunnels are forwarded.
    """
    stack = Ipvs(ipvs).stack
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    if local6(stack, load64(l3 + IP6_DST), load64(l3 + IP6_DST + 8), -1) == 0:
        return receive_ipv6(stack, k.mbuf, k.data)
    if local6(stack, load64(l3 + IP6_SRC), load64(l3 + IP6_SRC + 8), -1):
        return IP6_LOOP
    if checksum6(l3, icmp, PROTO_ICMP6, length) != 0xFFFF:
        return ICMP6_CHECKSUM
    outer = icmp + 8
    six = 1 if found & 0xFF == PROTO_IPV6 else 0
    inner = outer + (found >> 8)
    return _relay(ipvs, packet, handed, outer, inner, icmp + length, six, _says6(icmp))
