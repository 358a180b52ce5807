"""TCP connections whose segments are changed inside: client address, sequence numbers."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import ENTRY_SIZE, S_PROXY, S_SEQ, S_TOA, Entry
from ipvs.proxy_stream import proxy_to_server
from ipvs.room import l3_of
from ipvs.sequence import sack_to_client, set_ack, set_seq, to_client, to_server
from ipvs.steps import admit, count, hear_from, mtu_towards, next_hop, rewrite, send
from ipvs.table import Table
from ipvs.toa import toa_to_client, toa_to_server
from runtime.intrinsics import load8
from runtime.jit import compiled
from stack.drops import IP_TOO_BIG, IP_TTL
from stack.headers import ETHER_LEN, PROTO_TCP, Ipv4, Tcp
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.ipv4 import decrement_ttl
from stack.tcp_options import header_bytes

SYN, ACK = 2, 16


@compiled
def from_client(ipvs, packet, entry, hop, l4, mtu):
    """Change a client's segment; address of its TCP header now, or minus a drop reason."""
    e = Entry(entry)
    if e.special & S_PROXY:
        return proxy_to_server(ipvs, packet, entry, hop, l4, mtu)
    if e.special & S_TOA:
        l4 = toa_to_server(ipvs, packet, entry, l4, mtu)
    if e.special & S_SEQ:
        t = Tcp(l4)
        if t.flags & SYN:
            set_seq(l4, (t.seq + e.isn_delta) & 0xFFFFFFFF)
        else:
            set_seq(l4, to_server(entry, t.seq))
    return l4


@compiled
def from_server(entry, l4, payload):
    """Change a server's segment."""
    e = Entry(entry)
    if e.special & S_TOA:
        toa_to_client(entry, l4, payload)
    if e.special & (S_SEQ | S_PROXY) and load8(l4 + 13) & ACK:
        set_ack(l4, to_client(entry, Tcp(l4).ack))
        sack_to_client(entry, l4)
    return 0


@compiled
def forward_stream(ipvs, packet, reference, l4):
    """Forward a segment of a FullNAT TCP connection that is more than rewritten."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    ip = Ipv4(k.data + ETHER_LEN)
    reason = admit(ipvs, reference, entry, l4, PROTO_TCP)
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
        l4 = from_client(ipvs, packet, entry, hop, l4, mtu)
        if l4 < 0:
            return -l4
    else:
        hear_from(w.stack, entry, k.data)
        from_server(entry, l4, total - (l4 - ip.ptr) - header_bytes(l4))
    count(ipvs, entry, side, total)
    rewrite(l3_of(packet), l4, entry, side, PROTO_TCP)
    return send(ipvs, hop, k.mbuf, k.data)
