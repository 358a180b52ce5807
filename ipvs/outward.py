"""Known SNAT connections over UDP and ICMP echo.  TCP ones need nothing but the fast path."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import DEST_GONE
from ipvs.entry import (
    ENTRY_SIZE,
    FORWARD_AT,
    QUIESCENT,
    WIDE,
    Entry,
    Forward,
    Side,
    swap_halves,
)
from ipvs.rewrite6 import rewrite_l4, write_addresses6
from ipvs.state import enter
from ipvs.steps import depart, quiescent, rewrite, send, send_fitting
from ipvs.steps6 import depart6
from ipvs.table import Table
from ipvs.tcp import UDP_NORMAL, UDP_ONEWAY, StateTables
from runtime.intrinsics import load16, store16, store64
from runtime.jit import compiled
from stack.checksum import update
from stack.headers import ETHER_LEN, PROTO_UDP

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
def _rewrite_identifier(l4, entry, side):
    """The other side's identifier into an ICMP echo; the checksum by difference."""
    ports = Side(entry + (side ^ 1) * 16).ports
    # From inside: the outside identifier; from outside: the inside one.
    identifier = ports >> 16 if side == 1 else ports
    store16(l4 + 4, identifier & 0xFFFF)
    delta = Forward(entry + FORWARD_AT + side * 8).l4_delta
    store16(l4 + 2, update(load16(l4 + 2), delta))
    return 0


@compiled
def _rewrite_echo(l3, l4, entry, side):
    """``rewrite`` for an ICMP echo: addresses of the other side, and its identifier."""
    store64(l3 + 12, swap_halves(Side(entry + (side ^ 1) * 16).addresses))
    delta = Forward(entry + FORWARD_AT + side * 8).l3_delta
    store16(l3 + 10, update(load16(l3 + 10), delta))
    return _rewrite_identifier(l4, entry, side)


@compiled
def _go(ipvs, packet, entry, side, l4, proto):
    """Send an IPv4 packet on; 0 or a drop reason."""
    k = Packet(packet)
    hop = depart(ipvs, packet, entry, side)
    if hop < 0:
        return -hop
    if proto == PROTO_UDP:
        rewrite(k.data + ETHER_LEN, l4, entry, side, proto)
    else:
        _rewrite_echo(k.data + ETHER_LEN, l4, entry, side)
    return send_fitting(ipvs, packet, entry, side, hop)


@compiled
def _go6(ipvs, packet, entry, side, l4, proto):
    """Send an IPv6 packet on; 0 or a drop reason."""
    k = Packet(packet)
    hop = depart6(ipvs, packet, entry, side)
    if hop < 0:
        return -hop
    write_addresses6(k.data + ETHER_LEN, entry, side)
    if proto == PROTO_UDP:
        rewrite_l4(l4, entry, side, proto)
    else:
        _rewrite_identifier(l4, entry, side)
    return send(ipvs, hop, k.mbuf, k.data)


@compiled
def forward_outward(ipvs, packet, reference, l4):
    """Forward a UDP or ICMP packet of an SNAT connection, either way; 0 or a drop reason."""
    entry = Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE
    side = reference & 1
    e = Entry(entry)
    if e.flags & QUIESCENT and quiescent(ipvs, reference):
        return DEST_GONE
    proto = (e.side[0].ports >> 32) & 0xFF
    _note(ipvs, reference, proto)
    if e.flags & WIDE:
        return _go6(ipvs, packet, entry, side, l4, proto)
    return _go(ipvs, packet, entry, side, l4, proto)
