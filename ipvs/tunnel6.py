"""Tunnel mode with IPv6 inside or outside (RFC 2473, RFC 4213): 6in6, 6in4 and 4in6.

As in ipvs/tunnel.py the packet goes whole to the real server, and one-sidedly.  Outer IPv6
addresses lie in the entry's wide side 1, outer IPv4 ones in its ordinary side 1.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import ENTRY_SIZE, Entry, swap_halves
from ipvs.header64 import IP4_LEN, write_ipv4
from ipvs.rewrite6 import write_addresses6
from ipvs.steps import admit, count, mtu_towards, next_hop, send, tally
from ipvs.table import Table
from ipvs.wide_entry import SIX
from netdev.abi import Mbuf
from netdev.mbuf import set_length
from runtime.intrinsics import load8
from runtime.jit import compiled
from stack.drops import IP_TOO_BIG, IP_TTL
from stack.drops6 import IP6_HOPS, IP6_TOO_BIG
from stack.headers import (
    ETHER_LEN,
    IP6_LEN,
    IP6_MIN_MTU,
    IP_MIN_MTU,
    PROTO_IPIP,
    PROTO_IPV6,
    Ipv4,
    Ipv6,
)
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.icmp6 import TIME_EXCEEDED6, TOO_BIG6, send_error6
from stack.ipv4 import decrement_ttl


@compiled
def _outer_size(entry):
    return IP6_LEN if Entry(entry).side[1].ports & SIX else IP4_LEN


@compiled
def _wrap(ipvs, entry, packet, flow, hops, proto, total):
    """Put the outer header in front of ``total`` bytes; address of the new frame.

    ``flow`` is the first word of the outer IPv6 header; an IPv4 one takes its traffic class
    (RFC 4213 3.5; ECN as RFC 6040 normal mode) from there.
    """
    k = Packet(packet)
    size = _outer_size(entry)
    l3 = k.data + ETHER_LEN - size
    m = Mbuf(k.mbuf)
    m.data_off -= size
    set_length(k.mbuf, ETHER_LEN + size + total)
    if size == IP4_LEN:
        addresses = swap_halves(Entry(entry).side[1].addresses)
        write_ipv4(Ipvs(ipvs).stack, l3, (flow >> 20) & 0xFF, hops, proto, total, addresses)
    else:
        ip = Ipv6(l3)
        ip.flow = flow
        ip.payload = total
        ip.next = proto
        ip.hops = hops
        write_addresses6(l3, entry, 0)
    return k.data - size


@compiled
def _send_wrapped(ipvs, packet, entry, hop, total):
    """Send a packet of either family, ``total`` bytes, to neighbour ``hop``; 0 or a drop reason."""
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    if load8(l3) >> 4 == 6:
        ip = Ipv6(l3)
        data = _wrap(ipvs, entry, packet, ip.flow, ip.hops, PROTO_IPV6, total)
    else:
        flow = (6 << 28) | (Ipv4(l3).tos << 20)
        data = _wrap(ipvs, entry, packet, flow, Ipv4(l3).ttl, PROTO_IPIP, total)
    return send(ipvs, hop, k.mbuf, data)


@compiled
def _inner6(ipvs, packet, entry, hop):
    """An IPv6 packet into the tunnel (RFC 2473 section 3, 6)."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    ip = Ipv6(k.data + ETHER_LEN)
    total = ip.payload + IP6_LEN
    mtu = mtu_towards(ipvs, entry, 0, hop) - _outer_size(entry)
    if total > mtu:
        # RFC 2473 7.1: nobody is told to go below the least IPv6 MTU.
        told = mtu if mtu > IP6_MIN_MTU else IP6_MIN_MTU
        send_error6(w.stack, k.mbuf, k.data, TOO_BIG6, 0, told)
        return IP6_TOO_BIG
    if w.xmit_ttl:
        if ip.hops <= 1:
            send_error6(w.stack, k.mbuf, k.data, TIME_EXCEEDED6, 0, 0)
            return IP6_HOPS
        ip.hops -= 1
    count(ipvs, entry, 0, total)
    return _send_wrapped(ipvs, packet, entry, hop, total)


@compiled
def _inner4(ipvs, packet, entry, hop):
    """An IPv4 packet into an IPv6 tunnel."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    ip = Ipv4(k.data + ETHER_LEN)
    total = ip.total
    mtu = mtu_towards(ipvs, entry, 0, hop) - _outer_size(entry)
    if total > mtu:
        told = mtu if mtu > IP_MIN_MTU else IP_MIN_MTU
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, told)
        return IP_TOO_BIG
    if w.xmit_ttl:
        if ip.ttl <= 1:
            send_error(w.stack, k.mbuf, k.data, TIME_EXCEEDED, 0, 0)
            return IP_TTL
        decrement_ttl(ip.ptr)
    count(ipvs, entry, 0, total)
    return _send_wrapped(ipvs, packet, entry, hop, total)


@compiled
def send_through(ipvs, packet, entry):
    """Send a packet, or a later fragment, whose connection took note of it; 0 or a drop reason."""
    hop = next_hop(ipvs, entry, 0)
    if hop < 0:
        return -hop
    if load8(Packet(packet).data + ETHER_LEN) >> 4 == 6:
        return _inner6(ipvs, packet, entry, hop)
    return _inner4(ipvs, packet, entry, hop)


@compiled
def send_error_through(ipvs, packet, entry):
    """Send an ICMP error about the real server's answers to it; 0 or a drop reason.

    As it came, for the server sent them as the virtual address.  It is no sign of life.
    """
    l3 = Packet(packet).data + ETHER_LEN
    hop = next_hop(ipvs, entry, 0)
    if hop < 0:
        return -hop
    six = load8(l3) >> 4 == 6
    total = Ipv6(l3).payload + IP6_LEN if six else Ipv4(l3).total
    if total > mtu_towards(ipvs, entry, 0, hop) - _outer_size(entry):
        return IP6_TOO_BIG if six else IP_TOO_BIG
    tally(ipvs, entry, 0, total)
    return _send_wrapped(ipvs, packet, entry, hop, total)


@compiled
def forward_tunnel6(ipvs, packet, reference, l4):
    """Send a client's packet through a tunnel that has to do with IPv6; 0 or a drop reason."""
    k = Packet(packet)
    entry = Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE
    reason = admit(ipvs, reference, entry, l4, (k.ports >> 32) & 0xFF)
    if reason != 0:
        return reason
    return send_through(ipvs, packet, entry)
