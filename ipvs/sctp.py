"""SCTP through IPVS: input checks, and the rewrite of FullNAT and NAT.

The checksum is a CRC32c over ports and chunks: it is verified on the way in, and computed anew
when ports change (addresses are not in it).  Multi-homing and address changes are not followed.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import SCTP_CHECKSUM, SCTP_CHUNK
from ipvs.entry import ENTRY_SIZE, FORWARD_AT, ONE_SIDED, Entry, Forward, Side, swap_halves
from ipvs.steps import admit, count, hear_from, mtu_towards, next_hop, send
from ipvs.table import Table
from runtime.intrinsics import load16, load32, store16, store32, store64
from runtime.jit import compiled, inlined
from stack.checksum import update
from stack.drops import IP_TOO_BIG, IP_TTL, L4_SHORT
from stack.headers import ETHER_LEN, PROTO_SCTP, Ipv4
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.ipv4 import decrement_ttl
from stack.sctp import CHECK_AT, SCTP_LEN, checksum, first_chunk, set_checksum


@compiled
def check_sctp(ipvs, l4, available):
    """0 when header, CRC32c and first chunk are right (its type is noted), or a drop reason."""
    if available < SCTP_LEN:
        return L4_SHORT
    if load32(l4 + CHECK_AT) != checksum(l4, available):
        return SCTP_CHECKSUM
    kind = first_chunk(l4, available)
    if kind < 0:
        return SCTP_CHUNK
    Ipvs(ipvs).sctp_chunk = kind
    return 0


@inlined
def _rewrite(l3, l4, entry, side):
    other = Side(entry + (side ^ 1) * 16)
    store64(l3 + 12, swap_halves(other.addresses))
    forward = Forward(entry + FORWARD_AT + side * 8)
    store16(l3 + 10, update(load16(l3 + 10), forward.l3_delta))
    raw = other.ports
    ports = ((raw & 0xFFFF) << 16) | ((raw >> 16) & 0xFFFF)
    if ports != load32(l4):
        store32(l4, ports)
        set_checksum(l4, Ipv4(l3).total - (l4 - l3))
    return 0


@compiled
def forward_sctp(ipvs, packet, reference, l4):
    """Forward a packet of an SCTP association; like ``forward_at_once``."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    l3 = k.data + ETHER_LEN
    reason = admit(ipvs, reference, entry, l4, PROTO_SCTP)
    if reason != 0:
        return reason
    hop = next_hop(ipvs, entry, side)
    if hop < 0:
        return -hop
    ip = Ipv4(l3)
    total = ip.total
    mtu = mtu_towards(ipvs, entry, side, hop)
    if total > mtu:
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, mtu)
        return IP_TOO_BIG
    one_sided = Entry(entry).flags & ONE_SIDED
    if w.xmit_ttl and one_sided == 0:
        if ip.ttl <= 1:
            send_error(w.stack, k.mbuf, k.data, TIME_EXCEEDED, 0, 0)
            return IP_TTL
        decrement_ttl(l3)
    if side == 1:
        hear_from(w.stack, entry, k.data)
    count(ipvs, entry, side, total)
    if one_sided == 0:
        _rewrite(l3, l4, entry, side)
    return send(ipvs, hop, k.mbuf, k.data)
