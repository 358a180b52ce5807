"""A packet of a known IPv6 connection: the steps of ipvs/known.py with 16-byte addresses."""

from __future__ import annotations

from ipvs.classify6 import HEADER6
from ipvs.context import Ipvs, Packet
from ipvs.drops import DIGEST_CLASH
from ipvs.entry import ENTRY_SIZE, ONE_SIDED, SPECIAL, Entry
from ipvs.rewrite6 import rewrite_l4, write_addresses6
from ipvs.special import forward_special
from ipvs.steps import admit, count, hear_from, mtu_towards, next_hop, send
from ipvs.table import Table
from ipvs.wide_entry import WIDE_AT, WIDE_SIDE, same_addresses
from runtime.intrinsics import load8, store8
from runtime.jit import compiled
from stack.drops6 import IP6_HOPS, IP6_TOO_BIG
from stack.headers import ETHER_LEN, Ipv6
from stack.icmp6 import TIME_EXCEEDED6, TOO_BIG6, send_error6


@compiled
def forward_wide(ipvs, packet, reference, l4):
    """Forward an IPv6 packet of the connection side ``reference``; see known.forward_at_once."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    l3 = k.data + ETHER_LEN
    if same_addresses(l3 + 8, entry + WIDE_AT + side * WIDE_SIDE) == 0:
        return DIGEST_CLASH
    e = Entry(entry)
    if e.flags & SPECIAL:
        return forward_special(ipvs, packet, reference, l4)
    proto = (k.ports >> 32) & 0xFF
    reason = admit(ipvs, reference, entry, l4, proto)
    if reason != 0:
        return reason
    hop = next_hop(ipvs, entry, side)
    if hop < 0:
        return -hop
    total = Ipv6(l3).payload + HEADER6
    mtu = mtu_towards(ipvs, entry, side, hop)
    if total > mtu:
        send_error6(w.stack, k.mbuf, k.data, TOO_BIG6, 0, mtu)
        return IP6_TOO_BIG
    two_sided = e.flags & ONE_SIDED == 0
    if w.xmit_ttl and two_sided:
        hops = load8(l3 + 7)
        if hops <= 1:
            send_error6(w.stack, k.mbuf, k.data, TIME_EXCEEDED6, 0, 0)
            return IP6_HOPS
        store8(l3 + 7, hops - 1)
    if side == 1:
        hear_from(w.stack, entry, k.data)
    count(ipvs, entry, side, total)
    if two_sided:
        write_addresses6(l3, entry, side)
        rewrite_l4(l4, entry, side, proto)
    return send(ipvs, hop, k.mbuf, k.data)
