"""The first fragment of a datagram: like any packet of its tuple; what becomes of it holds for the
others."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.create import swap16
from ipvs.datagrams import AWAY, KNOWN, Datagram
from ipvs.drops import FRAG_TINY
from ipvs.echo import echo_of, receive_unknown
from ipvs.family import to_stack
from ipvs.fragment_sctp import note_parts
from ipvs.handover import hand_over
from ipvs.index import find
from ipvs.known import forward_known
from ipvs.miss import miss
from ipvs.miss6 import miss6
from ipvs.seek import seek
from ipvs.seek6 import seek6
from ipvs.wide import forward_wide
from ipvs.wide_entry import SIX
from netdev.abi import Mbuf
from runtime.jit import compiled
from stack.drops import TCP_OFFSET, UDP_LENGTH
from stack.headers import (
    ETHER_LEN,
    IP6_SRC,
    PROTO_ICMP,
    PROTO_ICMP6,
    PROTO_SCTP,
    PROTO_TCP,
    Ipv4,
    Tcp,
    Udp,
)
from stack.sctp import CHUNK_LEN, SCTP_LEN


@compiled
def check_first(l4, length, proto):
    """0 when a first fragment with ``length`` bytes of content has the whole transport header.

    RFC 1858, 3128 and 7112: what decides about the packet must not come in a fragment of its own.
    """
    if proto == PROTO_TCP:
        if length < 20:
            return FRAG_TINY
        size = (Tcp(l4).offset >> 4) * 4
        if size < 20:
            return TCP_OFFSET
        return 0 if size <= length else FRAG_TINY
    if proto == PROTO_SCTP:
        return 0 if length >= SCTP_LEN + CHUNK_LEN else FRAG_TINY
    if length < 8:
        return FRAG_TINY
    return 0 if Udp(l4).length > length else UDP_LENGTH


@compiled
def _elsewhere(ipvs, packet, handed):
    """Worker to hand a first fragment without connection to, -1 when it ends here."""
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    if k.ports & SIX:
        return seek6(ipvs, k.mbuf, handed, l3 + IP6_SRC, k.ports)
    ip = Ipv4(l3)
    sport = swap16(k.ports & 0xFFFF)
    dport = swap16((k.ports >> 16) & 0xFFFF)
    return seek(ipvs, k.mbuf, handed, ip.src, ip.dst, sport, dport, (k.ports >> 32) & 0xFF)


@compiled
def _open(ipvs, packet, handed, l4):
    """A first fragment that no connection is known of, here or elsewhere; 0 or a drop reason."""
    ports = Packet(packet).ports
    six = 1 if ports & SIX else 0
    proto = (ports >> 32) & 0xFF
    if proto == PROTO_ICMP or proto == PROTO_ICMP6:
        return receive_unknown(ipvs, packet, handed, l4, echo_of(l4, 8, six))
    return miss6(ipvs, packet, handed, l4) if six else miss(ipvs, packet, handed, l4)


@compiled
def lead(ipvs, packet, handed, datagram, l4):
    """Handle a first fragment whose tuple and hash are in ``packet``; 0 or a drop reason.

    ``l4`` is 0 for one without ports or echo, which is no business of services.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    d = Datagram(datagram)
    if l4 == 0:
        d.ports = 0
        d.state = KNOWN
        return to_stack(ipvs, packet)
    if (k.ports >> 32) & 0xFF == PROTO_SCTP:
        reason = note_parts(ipvs, packet, datagram, l4)
        if reason != 0:
            return reason
    d.ports = k.ports
    reference = find(w.index, k.bucket, k.tag, k.addresses, k.ports)
    if reference != 0:
        d.state = KNOWN
        if k.ports & SIX:
            return forward_wide(ipvs, packet, reference, l4)
        return forward_known(ipvs, packet, reference, l4)
    owner = _elsewhere(ipvs, packet, handed)
    if owner >= 0:
        d.state = AWAY
        d.owner = owner
        d.hops = Mbuf(k.mbuf).rss
        return hand_over(ipvs, k.mbuf, owner)
    d.state = KNOWN
    w.leading = datagram
    reason = _open(ipvs, packet, handed, l4)
    w.leading = 0
    return reason
