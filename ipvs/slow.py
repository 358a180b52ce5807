"""The thorough input path: ARP, ICMP, IPv6, options, and a name for everything that is wrong."""

from __future__ import annotations

from ipvs.classify import note_tuple
from ipvs.context import Ipvs, Packet
from ipvs.echo import NO_ECHO, echo_of, receive_echo
from ipvs.fragment4 import receive_fragment
from ipvs.l4_check import check_l4
from ipvs.miss import miss
from ipvs.related import receive_icmp
from ipvs.sctp import check_sctp
from ipvs.slow6 import receive_slow_ipv6
from netdev.abi import Mbuf
from runtime.jit import compiled
from stack.arp import receive_arp
from stack.drops import (
    ETH_SHORT,
    ETH_TYPE,
    SEGMENTED,
)
from stack.headers import (
    ETHER_ARP,
    ETHER_IPV4,
    ETHER_IPV6,
    ETHER_LEN,
    IP_MF,
    IP_OFFSET,
    PROTO_ICMP,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
    Ether,
    Ipv4,
)
from stack.ipv4 import check_header, frame_class, receive_ipv4


@compiled
def look_up(ipvs, packet, handed, l4):
    """A checked packet whose ports are at ``l4``: its connection, or what a miss leads to."""
    note_tuple(Ipvs(ipvs).index, packet, Packet(packet).data + ETHER_LEN, l4)
    return miss(ipvs, packet, handed, l4)


@compiled
def receive_sctp(ipvs, packet, handed):
    """An SCTP packet whose IP header is right: ours to balance, or one to forward."""
    l3 = Packet(packet).data + ETHER_LEN
    ip = Ipv4(l3)
    size = (ip.ver_ihl & 15) * 4
    reason = check_sctp(ipvs, l3 + size, ip.total - size)
    if reason != 0:
        return reason
    return look_up(ipvs, packet, handed, l3 + size)


@compiled
def receive_slow_ipv4(ipvs, packet, handed):
    """One IPv4 frame through every check; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    m = Mbuf(k.mbuf)
    l3 = k.data + ETHER_LEN
    reason = frame_class(w.stack, k.data, m.port)
    if reason != 0:
        return reason
    reason = check_header(k.mbuf, l3, m.pkt_len - ETHER_LEN)
    if reason != 0:
        return reason
    ip = Ipv4(l3)
    if ip.frag & (IP_MF | IP_OFFSET):
        return receive_fragment(ipvs, packet, handed)
    size = (ip.ver_ihl & 15) * 4
    if ip.proto == PROTO_ICMP:
        kind = echo_of(l3 + size, ip.total - size, 0)
        if kind != NO_ECHO:
            return receive_echo(ipvs, packet, handed, l3 + size, kind)
        return receive_icmp(ipvs, packet, handed)
    if ip.proto == PROTO_SCTP:
        return receive_sctp(ipvs, packet, handed)
    if ip.proto != PROTO_TCP and ip.proto != PROTO_UDP:
        return receive_ipv4(w.stack, k.mbuf, k.data)
    reason = check_l4(l3 + size, ip.total - size, ip.proto)
    if reason != 0:
        return reason
    return look_up(ipvs, packet, handed, l3 + size)


@compiled
def receive_slow(ipvs, packet, handed):
    """Any frame that is not of the common shape; 0 or a drop reason."""
    k = Packet(packet)
    m = Mbuf(k.mbuf)
    if m.nb_segs != 1:
        return SEGMENTED
    if m.pkt_len < ETHER_LEN:
        return ETH_SHORT
    kind = Ether(k.data).type
    if kind == ETHER_IPV4:
        return receive_slow_ipv4(ipvs, packet, handed)
    if kind == ETHER_IPV6:
        return receive_slow_ipv6(ipvs, packet, handed)
    if kind == ETHER_ARP:
        return receive_arp(Ipvs(ipvs).stack, k.mbuf, k.data, m.pkt_len, m.port)
    return ETH_TYPE
