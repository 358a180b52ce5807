"""SCTP through IPVS: input checks, and the rewrite of FullNAT and NAT.

The checksum is a CRC32c over ports and chunks: it is verified on the way in, and follows ports that
change by difference (addresses are not in it).  Multi-homing and address changes are not followed.
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
from ipvs.steps import admit, depart, send, send_fitting
from ipvs.steps6 import depart6
from ipvs.table import Table
from runtime.intrinsics import load16, load32, store16, store32, store64
from runtime.jit import compiled
from stack.checksum import update
from stack.drops import L4_SHORT
from stack.headers import ETHER_LEN, PROTO_SCTP
from stack.sctp import CHECK_AT, SCTP_LEN, change_ports, checksum, first_chunk


@compiled
def note_sctp(ipvs, l4, here, length):
    """Note what is to be known of a packet of ``length`` bytes, ``here`` of them at ``l4``: length
    and first chunk's type.  0, or a drop reason without a whole first chunk.
    """
    kind = first_chunk(l4, here, length)
    if kind < 0:
        return SCTP_CHUNK
    w = Ipvs(ipvs)
    w.sctp_chunk = kind
    w.sctp_length = length
    return 0


@compiled
def check_sctp(ipvs, l4, available):
    """0 when header, CRC32c and first chunk are right (and noted), or a drop reason."""
    if available < SCTP_LEN:
        return L4_SHORT
    if load32(l4 + CHECK_AT) != checksum(l4, available):
        return SCTP_CHECKSUM
    return note_sctp(ipvs, l4, available, available)


@compiled
def rewrite_sctp(ipvs, l4, entry, side):
    """Ports of the packet being handled, which arrived on ``side``: the other side's, turned."""
    raw = Side(entry + (side ^ 1) * 16).ports
    ports = ((raw & 0xFFFF) << 16) | ((raw >> 16) & 0xFFFF)
    return change_ports(l4, ports, Ipvs(ipvs).sctp_length)


@compiled
def restore_sctp(l4, end, ports, length):
    """A quoted packet, quotation up to ``end``, had these raw ports when it came to us.

    Without its ``length`` (0) or the checksum, the checksum stays as it is.
    """
    if length > 0 and l4 + SCTP_LEN <= end:
        return change_ports(l4, ports & 0xFFFFFFFF, length)
    store32(l4, ports)
    return 0


@compiled
def _rewrite_addresses(l3, entry, side):
    other = Side(entry + (side ^ 1) * 16)
    store64(l3 + 12, swap_halves(other.addresses))
    forward = Forward(entry + FORWARD_AT + side * 8)
    store16(l3 + 10, update(load16(l3 + 10), forward.l3_delta))
    return 0


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
        rewrite_sctp(ipvs, l4, entry, side)
    if flags & WIDE:
        if flags & ONE_SIDED == 0:
            write_addresses6(l3, entry, side)
        return send(ipvs, hop, k.mbuf, k.data)
    if flags & ONE_SIDED == 0:
        _rewrite_addresses(l3, entry, side)
    return send_fitting(ipvs, packet, entry, side, hop)
