"""An IPv6 fragment behind the first, of a known connection; see ipvs/later.py."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import DIGEST_CLASH
from ipvs.entry import ENTRY_SIZE, ONE_SIDED, S_NAT64, S_TUNNEL, Entry
from ipvs.nat64 import later_to_ipv4
from ipvs.rewrite6 import write_addresses6
from ipvs.steps import send
from ipvs.steps6 import depart6
from ipvs.table import Table
from ipvs.tunnel6 import send_through
from ipvs.wide_entry import is_between
from runtime.jit import compiled
from stack.headers import ETHER_LEN


@compiled
def forward_later6(ipvs, packet, reference):
    """Forward a later fragment of the connection side ``reference``; 0 or a drop reason."""
    k = Packet(packet)
    entry = Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    l3 = k.data + ETHER_LEN
    if is_between(l3, entry, side) == 0:
        return DIGEST_CLASH
    e = Entry(entry)
    if e.special & S_NAT64:
        return later_to_ipv4(ipvs, packet, entry)
    if e.special & S_TUNNEL:
        return send_through(ipvs, packet, entry, 1)
    hop = depart6(ipvs, packet, entry, side)
    if hop < 0:
        return -hop
    if e.flags & ONE_SIDED == 0:
        write_addresses6(l3, entry, side)
    return send(ipvs, hop, k.mbuf, k.data)
