"""A packet of a known IPv6 connection: the steps of ipvs/known.py with 16-byte addresses."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import DIGEST_CLASH
from ipvs.entry import ENTRY_SIZE, ONE_SIDED, SPECIAL, Entry
from ipvs.rewrite6 import rewrite_l4, write_addresses6
from ipvs.special import forward_special
from ipvs.steps import admit, send
from ipvs.steps6 import depart6
from ipvs.table import Table
from ipvs.wide_entry import is_between
from runtime.jit import compiled
from stack.headers import ETHER_LEN


@compiled
def forward_wide(ipvs, packet, reference, l4):
    """Forward an IPv6 packet of the connection side ``reference``; see known.forward_at_once."""
    k = Packet(packet)
    entry = Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    l3 = k.data + ETHER_LEN
    if is_between(l3, entry, side) == 0:
        return DIGEST_CLASH
    e = Entry(entry)
    if e.flags & SPECIAL:
        return forward_special(ipvs, packet, reference, l4)
    proto = (k.ports >> 32) & 0xFF
    reason = admit(ipvs, reference, entry, l4, proto)
    if reason != 0:
        return reason
    hop = depart6(ipvs, packet, entry, side)
    if hop < 0:
        return -hop
    if e.flags & ONE_SIDED == 0:
        write_addresses6(l3, entry, side)
        rewrite_l4(l4, entry, side, proto)
    return send(ipvs, hop, k.mbuf, k.data)
