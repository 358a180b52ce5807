"""Tunnel mode with IPv6 inside or outside (RFC 2473, RFC 4213): 6in6, 6in4 and 4in6.

As in ipvs/tunnel.py the packet goes whole to the real server, and one-sidedly.  Outer IPv6
addresses lie in the entry's wide side 1, outer IPv4 ones in its ordinary side 1.

What the tunnel does not take is answered with what it takes.  Where that would help nobody (IPv6
packets that every link must take, IPv4 ones whose sender allows fragments) the outer packet goes
out in fragments (RFC 2473 7.1 b, 7.2 b; RFC 4213 3.2).
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import ENTRY_SIZE, Entry, swap_halves
from ipvs.header64 import (
    IP4_LEN,
    write_fragment6,
    write_header4,
    write_header6,
    write_ipv4,
)
from ipvs.rewrite6 import write_addresses6
from ipvs.steps import admit, count, mtu_towards, next_hop, send, tally
from ipvs.table import Table
from ipvs.wide_entry import SIX
from netdev.abi import Mbuf
from netdev.mbuf import set_length
from runtime.intrinsics import load8
from runtime.jit import compiled
from stack.context import Stack
from stack.drops import IP_TOO_BIG, IP_TTL
from stack.drops6 import IP6_HOPS, IP6_TOO_BIG
from stack.headers import (
    ETHER_LEN,
    FRAGMENT_LEN,
    IP6_LEN,
    IP6_MIN_MTU,
    IP_DF,
    IP_MIN_MTU,
    PROTO_IPIP,
    PROTO_IPV6,
    Ipv4,
    Ipv6,
)
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.icmp6 import TIME_EXCEEDED6, TOO_BIG6, send_error6
from stack.ipv4 import decrement_ttl
from stack.split import send_split


@compiled
def _outer_size(entry):
    return IP6_LEN if Entry(entry).side[1].ports & SIX else IP4_LEN


@compiled
def _write_outer(ipvs, entry, l3, flow, hops, proto, total, split):
    """The outer header at ``l3`` for ``total`` bytes behind it.

    ``flow`` is the first word of the outer IPv6 header; an IPv4 one takes its traffic class
    (RFC 4213 3.5; ECN as RFC 6040 normal mode) from there.  ``split``: it is to be fragmented.
    """
    s = Stack(Ipvs(ipvs).stack)
    traffic = (flow >> 20) & 0xFF
    if _outer_size(entry) == IP4_LEN:
        addresses = swap_halves(Entry(entry).side[1].addresses)
        write_ipv4(s.ptr, l3, traffic, hops, proto, total, addresses)
        if split:
            write_header4(l3, traffic, hops, proto, total, addresses, s.ip_id, 0)
        return 0
    if split:
        s.ip_id = (s.ip_id + 1) & 0xFFFF
        ident = ((s.now & 0xFFFF) << 16) | s.ip_id  # the counter alone repeats too soon
        write_fragment6(l3, traffic, hops, proto, total, ident, 0)
    else:
        write_header6(l3, traffic, hops, proto, total)
    Ipv6(l3).flow = flow
    return write_addresses6(l3, entry, 0)


@compiled
def _send_wrapped(ipvs, entry, packet, hop, flow, hops, proto, total, room):
    """Send ``total`` bytes behind an outer header (see _write_outer) to neighbour ``hop``, in
    fragments if the tunnel has no ``room`` for them; 0 or a drop reason."""
    k = Packet(packet)
    outer = _outer_size(entry)
    split = 1 if total > room else 0
    size = outer + FRAGMENT_LEN if split and outer == IP6_LEN else outer
    m = Mbuf(k.mbuf)
    m.data_off -= size
    set_length(k.mbuf, ETHER_LEN + size + total)
    data = k.data - size
    _write_outer(ipvs, entry, data + ETHER_LEN, flow, hops, proto, total, split)
    if split:
        return send_split(Ipvs(ipvs).stack, hop, k.mbuf, data, room + outer)
    return send(ipvs, hop, k.mbuf, data)


@compiled
def _account(ipvs, entry, alive, total):
    """Statistics of a packet; unless it is an ICMP error it is a sign of life (``alive``)."""
    if alive:
        return count(ipvs, entry, 0, total)
    return tally(ipvs, entry, 0, total)


@compiled
def _inner6(ipvs, packet, entry, hop, alive):
    """An IPv6 packet into the tunnel (RFC 2473 section 3, 6)."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    ip = Ipv6(k.data + ETHER_LEN)
    total = ip.payload + IP6_LEN
    mtu = mtu_towards(ipvs, entry, 0, hop) - _outer_size(entry)
    if total > mtu and total > IP6_MIN_MTU:
        # RFC 2473 7.1 a: nobody is told to go below the least IPv6 MTU.
        told = mtu if mtu > IP6_MIN_MTU else IP6_MIN_MTU
        send_error6(w.stack, k.mbuf, k.data, TOO_BIG6, 0, told)
        return IP6_TOO_BIG
    if w.xmit_ttl:
        if ip.hops <= 1:
            send_error6(w.stack, k.mbuf, k.data, TIME_EXCEEDED6, 0, 0)
            return IP6_HOPS
        ip.hops -= 1
    _account(ipvs, entry, alive, total)
    return _send_wrapped(ipvs, entry, packet, hop, ip.flow, ip.hops, PROTO_IPV6, total, mtu)


@compiled
def _inner4(ipvs, packet, entry, hop, alive):
    """An IPv4 packet into an IPv6 tunnel."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    ip = Ipv4(k.data + ETHER_LEN)
    total = ip.total
    mtu = mtu_towards(ipvs, entry, 0, hop) - _outer_size(entry)
    if total > mtu and ip.frag & IP_DF:
        told = mtu if mtu > IP_MIN_MTU else IP_MIN_MTU
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, told)
        return IP_TOO_BIG
    if w.xmit_ttl:
        if ip.ttl <= 1:
            send_error(w.stack, k.mbuf, k.data, TIME_EXCEEDED, 0, 0)
            return IP_TTL
        decrement_ttl(ip.ptr)
    _account(ipvs, entry, alive, total)
    flow = (6 << 28) | (ip.tos << 20)
    return _send_wrapped(ipvs, entry, packet, hop, flow, ip.ttl, PROTO_IPIP, total, mtu)


@compiled
def send_through(ipvs, packet, entry, alive):
    """Send a packet, or a later fragment, whose connection took note of it, or an ICMP error that
    is no sign of life of it (``alive`` 0); 0 or a drop reason."""
    hop = next_hop(ipvs, entry, 0)
    if hop < 0:
        return -hop
    if load8(Packet(packet).data + ETHER_LEN) >> 4 == 6:
        return _inner6(ipvs, packet, entry, hop, alive)
    return _inner4(ipvs, packet, entry, hop, alive)


@compiled
def forward_tunnel6(ipvs, packet, reference, l4):
    """Send a client's packet through a tunnel that has to do with IPv6; 0 or a drop reason."""
    k = Packet(packet)
    entry = Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE
    reason = admit(ipvs, reference, entry, l4, (k.ports >> 32) & 0xFF)
    if reason != 0:
        return reason
    return send_through(ipvs, packet, entry, 1)
