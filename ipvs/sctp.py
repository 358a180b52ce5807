"""SCTP through IPVS: input checks, and the rewrite of FullNAT and NAT.

The checksum is a CRC32c over ports and chunks: it is verified on the way in, and computed anew
when ports change (addresses are not in it).  Multi-homing and address changes are not followed.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import SCTP_CHECKSUM, SCTP_CHUNK
from ipvs.entry import (
    ENTRY_SIZE,
    FORWARD_AT,
    ONE_SIDED,
    WIDE,
    Entry,
    Forward,
    Side,
    swap_halves,
)
from ipvs.rewrite6 import write_addresses6
from ipvs.steps import admit, depart, send
from ipvs.steps6 import depart6
from ipvs.table import Table
from runtime.intrinsics import load16, load32, store16, store32, store64
from runtime.jit import compiled
from stack.checksum import update
from stack.drops import L4_SHORT
from stack.headers import ETHER_LEN, IP6_LEN, PROTO_SCTP, Ipv4, Ipv6
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


@compiled
def rewrite_sctp(l4, length, entry, side):
    """Ports of a packet of ``length`` bytes that arrived on ``side``: the other side's, turned."""
    raw = Side(entry + (side ^ 1) * 16).ports
    ports = ((raw & 0xFFFF) << 16) | ((raw >> 16) & 0xFFFF)
    if ports != load32(l4):
        store32(l4, ports)
        set_checksum(l4, length)
    return 0


@compiled
def _rewrite(l3, l4, entry, side):
    other = Side(entry + (side ^ 1) * 16)
    store64(l3 + 12, swap_halves(other.addresses))
    forward = Forward(entry + FORWARD_AT + side * 8)
    store16(l3 + 10, update(load16(l3 + 10), forward.l3_delta))
    return rewrite_sctp(l4, Ipv4(l3).total - (l4 - l3), entry, side)


@compiled
def _rewrite6(l3, l4, entry, side):
    write_addresses6(l3, entry, side)
    return rewrite_sctp(l4, Ipv6(l3).payload + IP6_LEN - (l4 - l3), entry, side)


@compiled
def forward_sctp(ipvs, packet, reference, l4):
    """Forward a packet of an SCTP association; like ``forward_at_once`` or ``forward_wide``."""
    k = Packet(packet)
    entry = Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    flags = Entry(entry).flags
    l3 = k.data + ETHER_LEN
    reason = admit(ipvs, reference, entry, l4, PROTO_SCTP)
    if reason != 0:
        return reason
    if flags & WIDE:
        hop = depart6(ipvs, packet, entry, side)
    else:
        hop = depart(ipvs, packet, entry, side)
    if hop < 0:
        return -hop
    if flags & ONE_SIDED == 0:
        if flags & WIDE:
            _rewrite6(l3, l4, entry, side)
        else:
            _rewrite(l3, l4, entry, side)
    return send(ipvs, hop, k.mbuf, k.data)
