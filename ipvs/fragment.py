"""Fragments: forwarded one by one, each part of a datagram once.

The first fragment is handled like a whole packet (ipvs/fragment_first.py): it may open a
connection, belong to another worker, or be dropped.  The others follow it, with only their
addresses rewritten: the checksum of the transport header covers what it says about them (RFC 3022
4.3).  SCTP's checksum can follow the ports only when the length of all is known: such a packet goes
its way when its last fragment came, see ipvs/fragment_sctp.py.  What the families' headers say is
read by ipvs/fragment4.py and ipvs/fragment6.py.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.datagram_queue import hold_first, take_waiting, wait
from ipvs.datagram_table import forget, refuse
from ipvs.datagrams import AWAY, KNOWN, REFUSED, Datagram, is_complete, take_part
from ipvs.drops import FRAG_DUPLICATE, FRAG_LOST, FRAG_OVERLAP, FRAG_REFUSED
from ipvs.fragment_first import lead
from ipvs.fragment_later import send_after
from ipvs.fragment_sctp import is_due, must_wait, take_held
from ipvs.handover import hand_over
from ipvs.seek import came_back
from netdev.abi import Mbuf
from netdev.mbuf import data_of
from runtime.jit import compiled
from stack.neigh import drop


@compiled
def _follow(ipvs, packet, datagram, back):
    """Do with a later fragment what was done with the first; 0 or a drop reason.

    ``back``: it went round all workers already.
    """
    k = Packet(packet)
    d = Datagram(datagram)
    if d.state == REFUSED:
        return FRAG_REFUSED
    if d.state == AWAY and back:
        return FRAG_LOST
    if d.state == AWAY:
        Mbuf(k.mbuf).rss = d.hops
        return hand_over(ipvs, k.mbuf, d.owner)
    if d.state != KNOWN:
        return wait(ipvs, datagram, k.mbuf)
    return send_after(ipvs, packet, datagram)


@compiled
def _release(ipvs, packet, datagram):
    """The fragments that waited for the first follow it now."""
    k = Packet(packet)
    mbuf = take_waiting(ipvs, datagram)
    while mbuf != 0:
        k.mbuf = mbuf
        k.data = data_of(mbuf)
        reason = _follow(ipvs, packet, datagram, 0)
        if reason != 0:
            drop(Ipvs(ipvs).stack, mbuf, reason)
        mbuf = take_waiting(ipvs, datagram)
    return 0


@compiled
def _lead(ipvs, packet, handed, datagram, l4):
    """The first fragment goes its way and those that waited follow it; 0 or a drop reason."""
    reason = lead(ipvs, packet, handed, datagram, l4)
    if reason != 0:
        return refuse(ipvs, datagram, reason)
    return _release(ipvs, packet, datagram)


@compiled
def _lead_held(ipvs, packet, datagram):
    """The first fragment need not wait any longer; ``packet`` is another one of its datagram."""
    k = Packet(packet)
    mbuf = k.mbuf
    data = k.data
    handed = Datagram(datagram).handed
    l4 = take_held(ipvs, packet, datagram)
    first = k.mbuf
    reason = _lead(ipvs, packet, handed, datagram, l4)
    if reason != 0:
        drop(Ipvs(ipvs).stack, first, reason)
    k.mbuf = mbuf
    k.data = data
    return 0


@compiled
def _receive_first(ipvs, packet, handed, datagram, l4):
    """A first fragment that fits what was seen of its datagram; 0 or a drop reason."""
    k = Packet(packet)
    if must_wait(datagram, k.ports, l4) == 0:
        return _lead(ipvs, packet, handed, datagram, l4)
    reason = hold_first(ipvs, datagram, k.mbuf, handed, l4 - k.data)
    return refuse(ipvs, datagram, reason) if reason != 0 else 0


@compiled
def receive_part(ipvs, packet, handed, datagram, begin, end, more, l4):
    """A well-formed fragment, bytes ``begin`` to ``end`` of its datagram; 0 or a drop reason.

    Of a first one tuple and hash are noted in ``packet``; ``l4``: where its transport header is.
    """
    d = Datagram(datagram)
    if d.state == REFUSED:
        return FRAG_REFUSED
    back = came_back(ipvs, Packet(packet).mbuf, handed)
    reason = take_part(ipvs, datagram, begin, end, more)
    if reason == FRAG_DUPLICATE and back:
        reason = 0  # noted when it left, and its record is still there
    if reason == FRAG_OVERLAP:
        return refuse(ipvs, datagram, reason)
    if reason != 0:
        return reason
    if begin == 0:
        reason = _receive_first(ipvs, packet, handed, datagram, l4)
    else:
        if is_due(datagram):
            _lead_held(ipvs, packet, datagram)
        reason = _follow(ipvs, packet, datagram, back)
    if is_complete(datagram) and (d.state == KNOWN or d.state == AWAY):
        forget(ipvs, datagram, FRAG_LOST)  # nothing waits in it
    return reason
