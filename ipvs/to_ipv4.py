"""A client's IPv6 packet is given an IPv4 header and sent to its server (RFC 7915 section 5)."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import Entry, swap_halves
from ipvs.header64 import IP4_LEN, write_header4, write_ipv4
from ipvs.rewrite6 import rewrite_l4
from ipvs.sctp import rewrite_sctp
from ipvs.steps import mtu_towards, send
from netdev.abi import Mbuf
from netdev.mbuf import set_length
from runtime.jit import compiled, inlined
from stack.headers import ETHER_LEN, IP6_LEN, PROTO_OPTIONS, PROTO_SCTP, Ipv6
from stack.split import send_split

NOT_FRAGMENTED = -1


@inlined
def move_front(packet, new, length):
    """The frame now begins at ``new`` and has ``length`` bytes."""
    k = Packet(packet)
    Mbuf(k.mbuf).data_off += new - k.data
    set_length(k.mbuf, length)
    k.data = new
    return 0


@compiled
def rewrite_upper(ipvs, l4, entry, side, proto):
    """Ports and checksum of a packet that arrived on ``side``."""
    if proto == PROTO_SCTP:
        return rewrite_sctp(ipvs, l4, entry, side)
    return rewrite_l4(l4, entry, side, proto)


@compiled
def send_as_ipv4(ipvs, packet, entry, hop, at, l4, place):
    """Send the packet, whose content begins at ``at``, to neighbour ``hop``; 0 or a drop reason.

    ``l4``: where its ports are, 0 when it has none.  ``place``: IPv4's fragment word and, from bit
    16 on, identification, or NOT_FRAGMENTED.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    ip = Ipv6(l3)
    hops = ip.hops
    traffic = (ip.flow >> 20) & 0xFF
    length = ip.payload + IP6_LEN - (at - l3)
    proto = (Entry(entry).side[1].ports >> 32) & 0xFF
    carried = PROTO_OPTIONS if ip.next == PROTO_OPTIONS else proto
    new = at - IP4_LEN
    move_front(packet, new - ETHER_LEN, ETHER_LEN + IP4_LEN + length)
    addresses = swap_halves(Entry(entry).side[1].addresses)
    if place >= 0:
        frag = place & 0xFFFF
        write_header4(new, traffic, hops, carried, length, addresses, place >> 16, frag)
    else:
        write_ipv4(w.stack, new, traffic, hops, carried, length, addresses)
    if l4 != 0:
        rewrite_upper(ipvs, l4, entry, 0, proto)
    mtu = mtu_towards(ipvs, entry, 0, hop)
    if IP4_LEN + length > mtu:
        return send_split(w.stack, hop, k.mbuf, k.data, mtu)
    return send(ipvs, hop, k.mbuf, k.data)
