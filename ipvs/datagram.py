"""UDP connections whose first packets tell the real server who the client is."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import ENTRY_SIZE, S_PROXY, S_UOA, SPECIAL, Entry
from ipvs.front import header_of, payload_of
from ipvs.proxy import decide
from ipvs.proxy_stream import put_front
from ipvs.room import l3_of
from ipvs.steps import admit, count, hear_from, mtu_towards, next_hop, rewrite, send
from ipvs.table import Table
from ipvs.uoa import uoa_to_server
from runtime.jit import compiled
from stack.drops import IP_TOO_BIG, IP_TTL
from stack.headers import ETHER_LEN, PROTO_UDP, Ipv4
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.ipv4 import decrement_ttl


@compiled
def _proxy(ipvs, packet, entry, hop, l4, mtu):
    """The first packet gets the header; the connection is an ordinary one from there on."""
    e = Entry(entry)
    l3 = l3_of(packet)
    at = l4 + header_of(l4, PROTO_UDP)
    decide(ipvs, entry, l3, l4, at, payload_of(l3, l4, PROTO_UDP), PROTO_UDP)
    if e.ours != 0:
        l4 = put_front(ipvs, packet, entry, hop, l4, mtu, PROTO_UDP)
        if l4 < 0:
            return l4
    e.special = e.special & ~S_PROXY
    if e.special == 0:
        e.flags = e.flags & ~SPECIAL
    return l4


@compiled
def _from_client(ipvs, packet, entry, hop, l4, mtu):
    e = Entry(entry)
    if e.special & S_PROXY:
        return _proxy(ipvs, packet, entry, hop, l4, mtu)
    if e.special & S_UOA:
        return uoa_to_server(ipvs, packet, entry, hop, l4, mtu)
    return l4


@compiled
def forward_datagram(ipvs, packet, reference, l4):
    """Forward a UDP packet of a FullNAT connection whose server is still to be told."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    ip = Ipv4(k.data + ETHER_LEN)
    reason = admit(ipvs, reference, entry, l4, PROTO_UDP)
    if reason != 0:
        return reason
    hop = next_hop(ipvs, entry, side)
    if hop < 0:
        return -hop
    total = ip.total
    mtu = mtu_towards(ipvs, entry, side, hop)
    if total > mtu:
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, mtu)
        return IP_TOO_BIG
    if w.xmit_ttl:
        if ip.ttl <= 1:
            send_error(w.stack, k.mbuf, k.data, TIME_EXCEEDED, 0, 0)
            return IP_TTL
        decrement_ttl(ip.ptr)
    if side == 0:
        l4 = _from_client(ipvs, packet, entry, hop, l4, mtu)
        if l4 < 0:
            return -l4
    else:
        hear_from(w.stack, entry, k.data)
    count(ipvs, entry, side, total)
    rewrite(l3_of(packet), l4, entry, side, PROTO_UDP)
    return send(ipvs, hop, k.mbuf, k.data)
