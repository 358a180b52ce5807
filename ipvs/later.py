"""A fragment behind the first, of a known connection: no ports, no state, only addresses."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import (
    ENTRY_SIZE,
    FORWARD_AT,
    ONE_SIDED,
    S_NAT64,
    S_TUNNEL,
    WIDE,
    Entry,
    Forward,
    Side,
    swap_halves,
)
from ipvs.nat64 import later_to_ipv6
from ipvs.steps import count, hear_from, mtu_towards, next_hop, send
from ipvs.table import Table
from ipvs.tunnel import OUTER, send_in_tunnel
from ipvs.tunnel6 import send_through
from runtime.intrinsics import load16, store16, store64
from runtime.jit import compiled
from stack.checksum import update
from stack.drops import IP_TOO_BIG, IP_TTL
from stack.headers import ETHER_LEN, IP_DF, Ipv4
from stack.ipv4 import decrement_ttl
from stack.split import send_split


@compiled
def _forward(ipvs, packet, entry, side):
    """Of a connection that is IPv4 on both sides."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    hop = next_hop(ipvs, entry, side)
    if hop < 0:
        return -hop
    total = ip.total
    tunnel = Entry(entry).special & S_TUNNEL
    mtu = mtu_towards(ipvs, entry, side, hop) - (OUTER if tunnel else 0)
    if total > mtu and ip.frag & IP_DF:
        return IP_TOO_BIG
    if w.xmit_ttl and (tunnel or Entry(entry).flags & ONE_SIDED == 0):
        if ip.ttl <= 1:
            return IP_TTL
        decrement_ttl(l3)
    if side == 1:
        hear_from(w.stack, entry, k.data)
    count(ipvs, entry, side, total)
    if tunnel:
        return send_in_tunnel(ipvs, packet, entry, hop, total, mtu)
    store64(l3 + 12, swap_halves(Side(entry + (side ^ 1) * 16).addresses))
    delta = Forward(entry + FORWARD_AT + side * 8).l3_delta
    store16(l3 + 10, update(load16(l3 + 10), delta))
    if total > mtu:
        return send_split(w.stack, hop, k.mbuf, k.data, mtu)
    return send(ipvs, hop, k.mbuf, k.data)


@compiled
def forward_later(ipvs, packet, reference):
    """Forward a later fragment of the connection side ``reference``; 0 or a drop reason.

    No ICMP error is ever about such a fragment (RFC 1122 3.2.2).
    """
    entry = Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE
    e = Entry(entry)
    if e.special & S_NAT64:
        return later_to_ipv6(ipvs, packet, entry)
    if e.flags & WIDE:
        return send_through(ipvs, packet, entry, 1)
    return _forward(ipvs, packet, entry, reference & 1)
