"""A packet of a known connection that is larger than its way out takes."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import ENTRY_SIZE
from ipvs.steps import leave, rewrite
from ipvs.table import Table
from runtime.jit import compiled
from stack.drops import IP_TOO_BIG
from stack.headers import ETHER_LEN, IP_DF, Ipv4
from stack.icmp import FRAG_NEEDED, UNREACHABLE, send_error
from stack.split import send_split


@compiled
def forward_oversize(ipvs, packet, reference, l4, hop, mtu):
    """Send it in fragments, or tell its sender that it must not be fragmented (RFC 1191).

    The connection's state has taken note of the packet already.  0 or a drop reason.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    if ip.frag & IP_DF:
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, mtu)
        return IP_TOO_BIG
    reason = leave(ipvs, packet, entry, side)
    if reason != 0:
        return reason
    rewrite(l3, l4, entry, side, ip.proto)
    return send_split(w.stack, hop, k.mbuf, k.data, mtu)
