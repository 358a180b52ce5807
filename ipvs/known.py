"""A packet of a known connection: state, rewrite, statistics, next hop, transmit."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.dest import DEST_SIZE, STATS_SIZE, Dest, DestStats
from ipvs.drops import DEST_GONE
from ipvs.entry import (
    ENTRY_SIZE,
    FORWARD_AT,
    LOW_MTU,
    ONE_SIDED,
    QUIESCENT,
    Entry,
    Forward,
    Side,
    swap_halves,
)
from ipvs.expire import end_now
from ipvs.resolve import resolve, route_mtu
from ipvs.state import advance
from ipvs.table import Table
from netdev.port import Port, transmit
from runtime.intrinsics import load16, load64, store16, store32, store64
from runtime.jit import compiled, inlined
from stack.arp import output as neighbour_output
from stack.checksum import update
from stack.context import Stack
from stack.drops import IP_TOO_BIG, IP_TTL, PORT_DOWN, TCP_FLAGS
from stack.headers import ETHER_LEN, PROTO_TCP, Ipv4
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.ipv4 import decrement_ttl
from stack.neigh import USABLE, Neighbour, entry_at

MAC_MASK = 0xFFFFFFFFFFFF


@inlined
def rewrite(l3, l4, entry, side, proto):
    """Give the packet the other side's tuple, turned around; checksums by RFC 1624."""
    other = Side(entry + (side ^ 1) * 16)
    forward = Forward(entry + FORWARD_AT + side * 8)
    store64(l3 + 12, swap_halves(other.addresses))
    store16(l3 + 10, update(load16(l3 + 10), forward.l3_delta))
    ports = other.ports
    store32(l4, ((ports & 0xFFFF) << 16) | ((ports >> 16) & 0xFFFF))
    if proto == PROTO_TCP:
        store16(l4 + 16, update(load16(l4 + 16), forward.l4_delta))
    else:
        check = load16(l4 + 6)
        if check != 0:
            # A computed checksum of 0 is sent as all ones (RFC 768).
            new = update(check, forward.l4_delta)
            store16(l4 + 6, new if new != 0 else 0xFFFF)
    return 0


@inlined
def hear_from(stack, entry, data):
    """A packet from the server's side: its neighbour lives, if the MAC is the one we know.

    Another MAC is no sign of life of the one we send to: silence makes us ask soon.
    """
    s = Stack(stack)
    forward = Entry(entry).forward[0]
    if forward.generation == s.generation:
        n = Neighbour(entry_at(s.neighbours, forward.neighbour))
        if (load64(n.ptr) ^ load64(data + 6)) & MAC_MASK == 0:
            n.confirmed = s.now
    return 0


@compiled
def quiescent(ipvs, reference):
    """End a connection of an expire-quiescent service whose server is gone or weighs 0; 1 then."""
    w = Ipvs(ipvs)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    d = Dest(w.dests + Entry(entry).dest * DEST_SIZE)
    if d.present and d.weight > 0:
        return 0
    end_now(ipvs, reference >> 1)
    return 1


@inlined
def forward_at_once(ipvs, packet, reference, l4):
    """Forward a packet of the connection side ``reference``; ``l4`` is its TCP or UDP header.

    Returns 0 or a drop reason.  Nothing of the packet is changed before it is certain to go out,
    so an ICMP error quotes it as it came.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    s = Stack(w.stack)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    proto = ip.proto
    e = Entry(entry)
    if e.flags & QUIESCENT and quiescent(ipvs, reference):
        return DEST_GONE
    if advance(ipvs, reference, l4, proto) != 0:
        return TCP_FLAGS
    forward = Forward(entry + FORWARD_AT + side * 8)
    if forward.generation != s.generation:
        reason = resolve(ipvs, entry, side)
        if reason != 0:
            return reason
    n = Neighbour(entry_at(s.neighbours, forward.neighbour))
    port = s.ports[n.port]
    if Port(port).up == 0:
        return PORT_DOWN
    total = ip.total
    mtu = Port(port).mtu
    if e.flags & (LOW_MTU << side):
        mtu = route_mtu(ipvs, entry, side, mtu)
    if total > mtu:
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, mtu)
        return IP_TOO_BIG
    # DR leaves the IP header as it is.
    if w.xmit_ttl and e.flags & ONE_SIDED == 0:
        if ip.ttl <= 1:
            send_error(w.stack, k.mbuf, k.data, TIME_EXCEEDED, 0, 0)
            return IP_TTL
        decrement_ttl(l3)
    e.last = s.now
    if side == 1:
        hear_from(w.stack, entry, k.data)
    stats = DestStats(w.dest_stats + e.dest * STATS_SIZE)
    stats.packets[side] += 1
    stats.bytes[side] += total
    rewrite(l3, l4, entry, side, proto)
    if n.state < USABLE:
        return neighbour_output(w.stack, n.ptr, k.mbuf)
    store64(k.data, load64(n.ptr))
    store64(k.data + 6, load64(n.ptr + 6))
    n.used = s.now
    transmit(port, k.mbuf)
    return 0


@compiled
def forward_known(ipvs, packet, reference, l4):
    """``forward_at_once`` as a function of its own, for the places that are not the fast path."""
    return forward_at_once(ipvs, packet, reference, l4)
