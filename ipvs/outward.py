"""Known SNAT connections over UDP and ICMP echo.  TCP ones need nothing but the fast path."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import DEST_GONE
from ipvs.entry import ENTRY_SIZE, FORWARD_AT, QUIESCENT, Entry, Forward, Side, swap_halves
from ipvs.state import enter
from ipvs.steps import depart, quiescent, rewrite, send
from ipvs.table import Table
from ipvs.tcp import UDP_NORMAL, UDP_ONEWAY, StateTables
from runtime.intrinsics import load16, store16, store64
from runtime.jit import compiled
from stack.checksum import update
from stack.headers import ETHER_LEN, PROTO_ICMP, PROTO_UDP, Ipv4

ICMP_TIMEOUT = 300  # seconds (RFC 5508 REQ-2 wants 60 at least)


@compiled
def _note(ipvs, reference, proto):
    """State of the connection: UDP is ONEWAY until the outside host answers; ICMP has one state."""
    e = Entry(Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE)
    state = 0
    seconds = ICMP_TIMEOUT
    if proto == PROTO_UDP:
        answered = reference & 1 == 0 or e.state == UDP_NORMAL
        state = UDP_NORMAL if answered else UDP_ONEWAY
        seconds = StateTables(Ipvs(ipvs).states).udp_timeout[state]
    if e.fixed_timeout != 0:
        seconds = e.fixed_timeout
    if state != e.state or seconds != e.timeout:
        enter(ipvs, reference, state, seconds, 0)
    return 0


@compiled
def _rewrite_echo(l3, l4, entry, side):
    """``rewrite`` for an ICMP echo: addresses of the other side, and its identifier."""
    other = Side(entry + (side ^ 1) * 16)
    forward = Forward(entry + FORWARD_AT + side * 8)
    store64(l3 + 12, swap_halves(other.addresses))
    store16(l3 + 10, update(load16(l3 + 10), forward.l3_delta))
    # From inside: the outside identifier; from outside: the inside one.
    identifier = other.ports >> 16 if side == 1 else other.ports
    store16(l4 + 4, identifier & 0xFFFF)
    store16(l4 + 2, update(load16(l4 + 2), forward.l4_delta))
    return 0


@compiled
def forward_outward(ipvs, packet, reference, l4):
    """Forward a UDP or ICMP packet of an SNAT connection, either way; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    l3 = k.data + ETHER_LEN
    proto = Ipv4(l3).proto
    if Entry(entry).flags & QUIESCENT and quiescent(ipvs, reference):
        return DEST_GONE
    _note(ipvs, reference, proto)
    hop = depart(ipvs, packet, entry, side)
    if hop < 0:
        return -hop
    if proto == PROTO_ICMP:
        _rewrite_echo(l3, l4, entry, side)
    else:
        rewrite(l3, l4, entry, side, proto)
    return send(ipvs, hop, k.mbuf, k.data)
