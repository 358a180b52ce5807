"""Fragments of TCP, UDP and SCTP: forwarded one by one, each part of a datagram once.

The first fragment is handled like a whole packet (ipvs/fragment_first.py): it may open a
connection, belong to another worker, or be dropped.  The others follow it, with only their
addresses rewritten: the checksum of the transport header covers what it says about them (RFC 3022
4.3).  SCTP's checksum can follow the ports only when the length of all is known: such a packet goes
its way when its last fragment came, see ipvs/fragment_sctp.py.  What the families' headers say is
read by ipvs/fragment4.py and ipvs/fragment6.py.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.datagrams import (
    AWAY,
    FREE,
    KNOWN,
    REFUSED,
    WAITING,
    Datagram,
    drop_waiting,
    hold_first,
    is_complete,
    take_part,
    take_waiting,
    wait,
)
from ipvs.drops import FRAG_LOST, FRAG_OVERLAP, FRAG_REFUSED
from ipvs.entry import tuple_hash
from ipvs.family import is_six, to_stack, to_us
from ipvs.fragment_first import lead
from ipvs.fragment_sctp import is_due, must_wait, take_held
from ipvs.handover import hand_over
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.later import forward_later
from ipvs.later6 import forward_later6
from ipvs.seek import came_back
from ipvs.wide_entry import digest
from netdev.abi import Mbuf
from netdev.mbuf import data_of
from runtime.intrinsics import load64
from runtime.jit import compiled
from stack.headers import ETHER_LEN, IP6_SRC
from stack.neigh import drop


@compiled
def _find(ipvs, addresses, ports):
    w = Ipvs(ipvs)
    hashed = tuple_hash(w.index + SEED_AT, addresses, ports)
    return find(w.index, home(w.index, hashed), tag_of(hashed), addresses, ports)


@compiled
def _send_after(ipvs, packet, ports):
    """A later fragment of a datagram whose first one had these ports; 0 or a drop reason."""
    l3 = Packet(packet).data + ETHER_LEN
    if is_six(l3):
        reference = _find(ipvs, digest(Ipvs(ipvs).index + SEED_AT, l3 + IP6_SRC), ports)
        if reference != 0:
            return forward_later6(ipvs, packet, reference)
    else:
        reference = _find(ipvs, load64(l3 + 12), ports)
        if reference != 0:
            return forward_later(ipvs, packet, reference)
    return FRAG_LOST if to_us(ipvs, l3) else to_stack(ipvs, packet)


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
    return _send_after(ipvs, packet, d.ports)


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
def _refuse(ipvs, datagram, reason):
    """Give a datagram up: no fragment of it is forwarded any more (RFC 5722)."""
    Datagram(datagram).state = REFUSED
    drop_waiting(ipvs, datagram, FRAG_REFUSED)
    return reason


@compiled
def _lead(ipvs, packet, handed, datagram, l4):
    """The first fragment goes its way and those that waited follow it; 0 or a drop reason."""
    reason = lead(ipvs, packet, handed, datagram, l4)
    if reason != 0:
        return _refuse(ipvs, datagram, reason)
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
    return _refuse(ipvs, datagram, reason) if reason != 0 else 0


@compiled
def receive_part(ipvs, packet, handed, datagram, begin, end, more, l4):
    """A well-formed fragment, bytes ``begin`` to ``end`` of its datagram; 0 or a drop reason.

    Of a first one tuple and hash are noted in ``packet``; ``l4``: where its transport header is.
    """
    d = Datagram(datagram)
    if d.state == REFUSED:
        return FRAG_REFUSED
    back = came_back(ipvs, Packet(packet).mbuf, handed)
    reason = 0
    if back == 0:  # else it was noted the first time
        reason = take_part(ipvs, datagram, begin, end, more)
    elif more == 0 and d.state == WAITING:
        d.end = end  # all were noted, and forgotten when they had left
    if reason == FRAG_OVERLAP:
        return _refuse(ipvs, datagram, reason)
    if reason != 0:
        return reason
    if begin == 0:
        reason = _receive_first(ipvs, packet, handed, datagram, l4)
    else:
        if is_due(datagram):
            _lead_held(ipvs, packet, datagram)
        reason = _follow(ipvs, packet, datagram, back)
    if is_complete(datagram) and (d.state == KNOWN or d.state == AWAY):
        d.state = FREE
    return reason
