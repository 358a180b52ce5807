"""The thorough path of IPv6: extension headers, and a name for everything that is wrong."""

from __future__ import annotations

from ipvs.classify6 import note_tuple6
from ipvs.context import Ipvs, Packet
from ipvs.drops import UDP6_CHECKSUM
from ipvs.echo import NO_ECHO, echo_of, receive_echo
from ipvs.fragment6 import receive_fragment6
from ipvs.handover import hand_over
from ipvs.index import find
from ipvs.l4_check import check_l4
from ipvs.miss6 import miss6
from ipvs.related6 import is_error6, receive_error6
from ipvs.sctp import check_sctp
from ipvs.seek6 import seek6
from runtime.intrinsics import load8, load16, load64
from runtime.jit import compiled
from stack.address6 import is_multicast6
from stack.check6 import check_ipv6
from stack.exthdr import FRAGMENT, walk
from stack.headers import (
    ETHER_LEN,
    IP6_DST,
    IP6_LEN,
    IP6_SRC,
    PROTO_ICMP6,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
    Ipv6,
)
from stack.ipv6 import receive_ipv6
from stack.local6 import local6


@compiled
def _check_l4(ipvs, l4, available, proto):
    """0 when a transport header may be looked at: lengths, and RFC 8200 8.1 on UDP checksums."""
    if proto == PROTO_SCTP:
        return check_sctp(ipvs, l4, available)
    reason = check_l4(l4, available, proto)
    if reason == 0 and proto == PROTO_UDP and load16(l4 + 6) == 0:
        return UDP6_CHECKSUM
    return reason


@compiled
def _elsewhere(ipvs, packet, handed):
    """Worker to hand a packet with extension headers to, -1 when it stays here: few NICs look
    behind them for the ports, so it may not have arrived where others of its tuple do."""
    k = Packet(packet)
    if find(Ipvs(ipvs).index, k.bucket, k.tag, k.addresses, k.ports) != 0:
        return -1
    return seek6(ipvs, k.mbuf, handed, k.data + ETHER_LEN + IP6_SRC, k.ports)


@compiled
def receive_slow_ipv6(ipvs, packet, handed):
    """One IPv6 frame through every check; 0 or a drop reason.

    TCP and UDP behind harmless extension headers goes the way of plain TCP and UDP, and so do
    atomic fragments of it, and SCTP.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    reason = check_ipv6(w.stack, k.mbuf, k.data)
    if reason != 0:
        return reason
    l3 = k.data + ETHER_LEN
    length = IP6_LEN + Ipv6(l3).payload
    # What is wrong with the headers concerns their destination only: receive_ipv6 knows.
    found = walk(w.stack, l3, length)
    proto = found & 0xFF
    if found > 0 and proto == PROTO_ICMP6 and (found >> 8) + 8 <= length:
        icmp = l3 + (found >> 8)
        if is_error6(load8(icmp)):
            return receive_error6(ipvs, packet, handed, icmp, length - (found >> 8))
    offset = found >> 8
    if found < 0 or is_multicast6(load64(l3 + IP6_DST)):
        return receive_ipv6(w.stack, k.mbuf, k.data)
    if proto == FRAGMENT:
        return receive_fragment6(ipvs, packet, handed, offset)
    if proto == PROTO_ICMP6:
        kind = echo_of(l3 + offset, length - offset, 1)
        if kind != NO_ECHO:
            return receive_echo(ipvs, packet, handed, l3 + offset, kind)
    if proto != PROTO_TCP and proto != PROTO_UDP and proto != PROTO_SCTP:
        return receive_ipv6(w.stack, k.mbuf, k.data)
    reason = _check_l4(ipvs, l3 + offset, length - offset, proto)
    if reason != 0:
        # Who only forwards a packet has nothing to say about it.
        if local6(w.stack, load64(l3 + IP6_DST), load64(l3 + IP6_DST + 8), -1):
            return reason
        return receive_ipv6(w.stack, k.mbuf, k.data)
    note_tuple6(w.index, packet, l3, l3 + offset, proto)
    if offset != IP6_LEN and w.workers > 1:
        owner = _elsewhere(ipvs, packet, handed)
        if owner >= 0:
            return hand_over(ipvs, k.mbuf, owner)
    return miss6(ipvs, packet, handed, l3 + offset)
