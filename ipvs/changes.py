"""Connections whose packets are changed inside: client address, sequence numbers.

FullNAT only, TCP (ipvs/stream.py) and UDP (ipvs/datagram.py).  NAT64 changes a packet while it is
IPv6 still, or no more (ipvs/nat64.py).
"""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.datagram import datagram_from_client
from ipvs.entry import ENTRY_SIZE, S_PROXY, S_SEQ, S_TOA, S_UOA, Entry
from ipvs.front import payload_of
from ipvs.onward import content_of as content_of
from ipvs.onward import send_on, set_out
from ipvs.room import l3_of
from ipvs.steps import admit, mtu_towards
from ipvs.stream import segment_from_client, segment_from_server
from ipvs.table import Table
from runtime.jit import compiled
from stack.headers import PROTO_TCP

CHANGED = S_TOA | S_SEQ | S_PROXY | S_UOA


@compiled
def from_client(ipvs, packet, entry, hop, l4, mtu, proto):
    """Change a client's packet, which may have ``mtu`` bytes; address of its L4 header now, or
    minus a drop reason."""
    if proto == PROTO_TCP:
        return segment_from_client(ipvs, packet, entry, hop, l4, mtu)
    return datagram_from_client(ipvs, packet, entry, hop, l4, mtu)


@compiled
def from_server(entry, l3, l4, proto):
    """Change a server's packet; its length stays."""
    if proto == PROTO_TCP:
        segment_from_server(entry, l4, payload_of(l3, l4, proto))
    return 0


@compiled
def forward_changed(ipvs, packet, reference, l4):
    """Forward a packet of a connection between hosts of one family; 0 or a drop reason."""
    entry = Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    proto = (Entry(entry).side[0].ports >> 32) & 0xFF
    reason = admit(ipvs, reference, entry, l4, proto)
    if reason != 0:
        return reason
    hop = set_out(ipvs, packet, entry, side)
    if hop < 0:
        return -hop
    if side == 0:
        mtu = mtu_towards(ipvs, entry, side, hop)
        l4 = from_client(ipvs, packet, entry, hop, l4, mtu, proto)
        if l4 < 0:
            return -l4
    else:
        from_server(entry, l3_of(packet), l4, proto)
    return send_on(ipvs, packet, entry, side, hop, l4, proto)
