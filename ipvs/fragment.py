"""IPv4 fragments of TCP and UDP: forwarded one by one, each part of a datagram once.

The first fragment is handled like a whole packet: it may open a connection, belong to another
worker, or be dropped.  The others follow it, with only their addresses rewritten: the checksum of
the transport header covers what it says about them (RFC 3022 4.3).
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.create import swap16
from ipvs.datagrams import (
    AWAY,
    FREE,
    KNOWN,
    REFUSED,
    Datagram,
    datagram_of,
    drop_waiting,
    is_complete,
    take_part,
    take_waiting,
    wait,
)
from ipvs.drops import FRAG_FORM, FRAG_LOST, FRAG_OVERLAP, FRAG_REFUSED, FRAG_TINY
from ipvs.entry import ENTRY_SIZE, WIDE, Entry, tuple_hash
from ipvs.handover import hand_over
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.known import forward_known
from ipvs.later import forward_later
from ipvs.miss import miss
from ipvs.seek import came_back, seek
from ipvs.table import Table
from netdev.abi import Mbuf
from netdev.mbuf import data_of
from runtime.intrinsics import load16, load32, load64
from runtime.jit import compiled
from stack.arp import is_local
from stack.drops import IP_FRAGMENT, TCP_OFFSET, UDP_LENGTH
from stack.headers import ETHER_LEN, IP_MF, IP_OFFSET, PROTO_TCP, Ipv4, Tcp, Udp
from stack.ipv4 import receive_ipv4
from stack.neigh import drop

LARGEST = 65535  # bytes of an IPv4 packet
VERSION_AT = 40  # bit of the IP version in a datagram's key


@compiled
def check_first(l4, length, proto):
    """0 when a first fragment with ``length`` bytes of content has the whole transport header.

    RFC 1858 and 3128: what decides about the packet must not come in a fragment of its own.
    """
    if proto == PROTO_TCP:
        if length < 20:
            return FRAG_TINY
        size = (Tcp(l4).offset >> 4) * 4
        if size < 20:
            return TCP_OFFSET
        return 0 if size <= length else FRAG_TINY
    if length < 8:
        return FRAG_TINY
    return 0 if Udp(l4).length > length else UDP_LENGTH


@compiled
def _follow(ipvs, packet, datagram, back):
    """Do with a later fragment what was done with the first; 0 or a drop reason.

    ``back``: it went round all workers already.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    d = Datagram(datagram)
    if d.state == REFUSED:
        return FRAG_REFUSED
    if d.state == AWAY and back:
        return FRAG_LOST
    if d.state == AWAY:
        Mbuf(k.mbuf).rss = d.hops
        return hand_over(ipvs, k.mbuf, d.owner)
    if d.state != KNOWN:
        return wait(ipvs, datagram, k.mbuf)
    l3 = k.data + ETHER_LEN
    addresses = load64(l3 + 12)
    hashed = tuple_hash(w.index + SEED_AT, addresses, d.ports)
    reference = find(w.index, home(w.index, hashed), tag_of(hashed), addresses, d.ports)
    if reference != 0:
        return forward_later(ipvs, packet, reference)
    if is_local(w.stack, Ipv4(l3).dst, -1):
        return FRAG_LOST
    return receive_ipv4(w.stack, k.mbuf, k.data)


@compiled
def _release(ipvs, packet, datagram):
    """The fragments that waited for the first follow it now."""
    k = Packet(packet)
    mbuf = take_waiting(ipvs, datagram)
    while mbuf != 0:
        k.mbuf = mbuf
        k.data = data_of(mbuf)
        reason = _follow(ipvs, packet, datagram, 0)
        if reason != 0:
            drop(Ipvs(ipvs).stack, mbuf, reason)
        mbuf = take_waiting(ipvs, datagram)
    return 0


@compiled
def _lead(ipvs, packet, handed, datagram, l4):
    """A first fragment: like any packet of its tuple; what becomes of it holds for the others."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    d = Datagram(datagram)
    ip = Ipv4(k.data + ETHER_LEN)
    k.addresses = load64(ip.ptr + 12)
    k.ports = load32(l4) | (ip.proto << 32)
    d.ports = k.ports
    hashed = tuple_hash(w.index + SEED_AT, k.addresses, k.ports)
    k.tag = tag_of(hashed)
    k.bucket = home(w.index, hashed)
    reference = find(w.index, k.bucket, k.tag, k.addresses, k.ports)
    if reference != 0:
        if Entry(Table(w.table).entries + (reference >> 1) * ENTRY_SIZE).flags & WIDE:
            return IP_FRAGMENT
        d.state = KNOWN
        return forward_known(ipvs, packet, reference, l4)
    sport = swap16(k.ports & 0xFFFF)
    dport = swap16((k.ports >> 16) & 0xFFFF)
    owner = seek(ipvs, k.mbuf, handed, ip.src, ip.dst, sport, dport, ip.proto)
    if owner >= 0:
        d.state = AWAY
        d.owner = owner
        d.hops = Mbuf(k.mbuf).rss
        return hand_over(ipvs, k.mbuf, owner)
    d.state = KNOWN
    return miss(ipvs, packet, handed, l4)


@compiled
def _refuse(ipvs, datagram, reason):
    """Give a datagram up: no fragment of it is forwarded any more (RFC 5722)."""
    Datagram(datagram).state = REFUSED
    drop_waiting(ipvs, datagram, FRAG_REFUSED)
    return reason


@compiled
def _receive_part(ipvs, packet, handed, datagram, begin, length, more):
    """A well-formed fragment of a datagram; 0 or a drop reason."""
    k = Packet(packet)
    d = Datagram(datagram)
    if d.state == REFUSED:
        return FRAG_REFUSED
    back = came_back(ipvs, k.mbuf, handed)
    reason = 0
    if back == 0:  # else it was noted the first time
        reason = take_part(ipvs, datagram, begin, begin + length, more)
    if reason == FRAG_OVERLAP:
        return _refuse(ipvs, datagram, reason)
    if reason != 0:
        return reason
    if begin == 0:
        ip = Ipv4(k.data + ETHER_LEN)
        reason = _lead(ipvs, packet, handed, datagram, ip.ptr + (ip.ver_ihl & 15) * 4)
        if reason != 0:
            return _refuse(ipvs, datagram, reason)
        _release(ipvs, packet, datagram)
    else:
        reason = _follow(ipvs, packet, datagram, back)
    if is_complete(datagram) and (d.state == KNOWN or d.state == AWAY):
        d.state = FREE
    return reason


@compiled
def receive_fragment(ipvs, packet, handed):
    """A TCP or UDP fragment whose IP header was checked; 0 or a drop reason."""
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    size = (ip.ver_ihl & 15) * 4
    begin = (ip.frag & IP_OFFSET) * 8
    more = ip.frag & IP_MF
    length = ip.total - size
    if length == 0 or (more and length & 7) or size + begin + length > LARGEST:
        return FRAG_FORM
    if begin == 0:
        reason = check_first(l3 + size, length, ip.proto)
        if reason != 0:
            return reason
    key = load16(l3 + 4) | (ip.proto << 32) | (4 << VERSION_AT)
    datagram = datagram_of(ipvs, load64(l3 + 12), 0, 0, 0, key)
    return _receive_part(ipvs, packet, handed, datagram, begin, length, more)
