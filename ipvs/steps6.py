"""The steps of forwarding an IPv6 packet of a known connection; see ipvs/steps.py."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import ONE_SIDED, Entry
from ipvs.steps import count, hear_from, mtu_towards, next_hop
from runtime.intrinsics import load8, store8
from runtime.jit import inlined
from stack.drops6 import IP6_HOPS, IP6_TOO_BIG
from stack.headers import ETHER_LEN, IP6_LEN, Ipv6
from stack.icmp6 import TIME_EXCEEDED6, TOO_BIG6, send_error6


@inlined
def depart6(ipvs, packet, entry, side):
    """All that is between state and rewrite, as steps.depart: next hop, MTU, hop limit, statistics.

    The neighbour to send to, or minus a drop reason.  Nobody on the way of an IPv6 packet
    fragments it: its sender, whatever fragment it is, is told the MTU (RFC 8201).
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    hop = next_hop(ipvs, entry, side)
    if hop < 0:
        return hop
    total = Ipv6(l3).payload + IP6_LEN
    mtu = mtu_towards(ipvs, entry, side, hop)
    if total > mtu:
        send_error6(w.stack, k.mbuf, k.data, TOO_BIG6, 0, mtu)
        return -IP6_TOO_BIG
    # DR leaves the IP header as it is.
    if w.xmit_ttl and Entry(entry).flags & ONE_SIDED == 0:
        hops = load8(l3 + 7)
        if hops <= 1:
            send_error6(w.stack, k.mbuf, k.data, TIME_EXCEEDED6, 0, 0)
            return -IP6_HOPS
        store8(l3 + 7, hops - 1)
    if side == 1:
        hear_from(w.stack, entry, k.data)
    count(ipvs, entry, side, total)
    return hop
