"""A fragment behind the first: its datagram's record tells what it follows."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.datagrams import Datagram
from ipvs.drops import FRAG_LOST
from ipvs.entry import tuple_hash
from ipvs.family import is_six, to_stack, to_us
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.later import forward_later
from ipvs.later6 import forward_later6
from ipvs.wide_entry import digest
from runtime.intrinsics import load64
from runtime.jit import compiled
from stack.headers import ETHER_LEN, IP6_SRC


@compiled
def _followed(ipvs, l3, datagram):
    """The connection side that the first fragment went by; 0 when none is there (any more)."""
    w = Ipvs(ipvs)
    d = Datagram(datagram)
    if d.kept != 0:
        return d.kept
    seed = w.index + SEED_AT
    addresses = digest(seed, l3 + IP6_SRC) if is_six(l3) else load64(l3 + 12)
    hashed = tuple_hash(seed, addresses, d.ports)
    return find(w.index, home(w.index, hashed), tag_of(hashed), addresses, d.ports)


@compiled
def send_after(ipvs, packet, datagram):
    """A later fragment of a datagram whose first one went its way here; 0 or a drop reason."""
    l3 = Packet(packet).data + ETHER_LEN
    reference = _followed(ipvs, l3, datagram)
    if reference == 0:
        return FRAG_LOST if to_us(ipvs, l3) else to_stack(ipvs, packet)
    if is_six(l3):
        return forward_later6(ipvs, packet, reference)
    return forward_later(ipvs, packet, reference)
