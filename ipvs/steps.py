"""The steps of forwarding a packet of a known connection, shared by every way it may leave."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.dest import STATS_SIZE, DestStats, stands
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
from ipvs.hop import next_hop as next_hop
from ipvs.hop import send as send
from ipvs.resolve import route_mtu
from ipvs.state import advance
from ipvs.table import Table
from netdev.port import Port
from runtime.intrinsics import load16, load64, store16, store32, store64
from runtime.jit import compiled, inlined
from stack.checksum import update
from stack.context import Stack
from stack.drops import IP_TOO_BIG, IP_TTL
from stack.headers import ETHER_LEN, IP_DF, PROTO_TCP, Ipv4
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.ipv4 import decrement_ttl
from stack.neigh import Neighbour, entry_at
from stack.split import send_split

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
    if stands(w.dests, Entry(entry).dest):
        return 0
    end_now(ipvs, reference >> 1)
    return 1


@inlined
def admit(ipvs, reference, entry, l4, proto):
    """First step: the connection's state takes note of the packet; 0 or a drop reason."""
    if Entry(entry).flags & QUIESCENT and quiescent(ipvs, reference):
        return DEST_GONE
    return advance(ipvs, reference, l4, proto)


@inlined
def mtu_towards(ipvs, entry, side, hop):
    """Bytes of an IP packet that may be sent to ``hop``."""
    mtu = Port(Stack(Ipvs(ipvs).stack).ports[Neighbour(hop).port]).mtu
    if Entry(entry).flags & (LOW_MTU << side):
        return route_mtu(ipvs, entry, side, mtu)
    return mtu


@inlined
def tally(ipvs, entry, side, total):
    """Statistics of the real server: an IP packet of ``total`` bytes is sent on."""
    stats = DestStats(Ipvs(ipvs).dest_stats + Entry(entry).dest * STATS_SIZE)
    stats.packets[side] += 1
    stats.bytes[side] += total
    return 0


@inlined
def count(ipvs, entry, side, total):
    """Statistics and idle time of a packet that is a sign of life of its connection."""
    Entry(entry).last = Stack(Ipvs(ipvs).stack).now
    tally(ipvs, entry, side, total)
    return 0


@inlined
def leave(ipvs, packet, entry, side):
    """What is between the choice of a next hop and the rewrite: TTL, statistics; 0 or a reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    ip = Ipv4(k.data + ETHER_LEN)
    # DR leaves the IP header as it is.
    if w.xmit_ttl and Entry(entry).flags & ONE_SIDED == 0:
        if ip.ttl <= 1:
            send_error(w.stack, k.mbuf, k.data, TIME_EXCEEDED, 0, 0)
            return IP_TTL
        decrement_ttl(ip.ptr)
    if side == 1:
        hear_from(w.stack, entry, k.data)
    count(ipvs, entry, side, ip.total)
    return 0


@inlined
def depart(ipvs, packet, entry, side):
    """All that is between state and rewrite: next hop, MTU, TTL, statistics.

    The neighbour to send to, or minus a drop reason.  What may be fragmented passes whatever its
    size, see ``send_fitting``.  Until it is certain that the packet goes
    out nothing of it is changed, so an ICMP error quotes it as it came.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    hop = next_hop(ipvs, entry, side)
    if hop < 0:
        return hop
    mtu = mtu_towards(ipvs, entry, side, hop)
    ip = Ipv4(k.data + ETHER_LEN)
    if ip.total > mtu and ip.frag & IP_DF:
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, mtu)
        return -IP_TOO_BIG
    reason = leave(ipvs, packet, entry, side)
    if reason != 0:
        return -reason
    return hop


@inlined
def send_fitting(ipvs, packet, entry, side, hop):
    """``send`` for an IPv4 packet, in fragments when the way out takes no larger ones."""
    k = Packet(packet)
    mtu = mtu_towards(ipvs, entry, side, hop)
    if Ipv4(k.data + ETHER_LEN).total > mtu:
        return send_split(Ipvs(ipvs).stack, hop, k.mbuf, k.data, mtu)
    return send(ipvs, hop, k.mbuf, k.data)
