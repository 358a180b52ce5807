"""Fragments of SCTP packets: the first one waits for the last.

A change of the ports changes the CRC32c in the first fragment, by bits that depend on the length of
the whole packet (stack/sctp.py), which only the last fragment tells.  In every mode the first one
waits for it, so what is known of a packet, a whole first chunk say, does not depend on the mode.
The CRC itself cannot be verified here: a damaged packet stays damaged for its receiver.
"""

from __future__ import annotations

from ipvs.classify import note_tuple
from ipvs.classify6 import note_tuple6
from ipvs.context import Ipvs, Packet
from ipvs.datagram_queue import take_waiting
from ipvs.datagrams import Datagram
from ipvs.family import is_six
from ipvs.sctp import note_sctp
from netdev.mbuf import data_of
from runtime.jit import compiled
from stack.exthdr import fragment_header
from stack.headers import ETHER_LEN, FRAGMENT_LEN, IP6_LEN, PROTO_SCTP, Ipv4, Ipv6


@compiled
def must_wait(datagram, ports, l4):
    """1 for a first fragment that must wait for the last; ``l4`` is 0 when it has no ports."""
    is_sctp = l4 != 0 and (ports >> 32) & 0xFF == PROTO_SCTP
    return 1 if is_sctp and Datagram(datagram).end == 0 else 0


@compiled
def is_due(datagram):
    """1 when the first fragment waits and the last one came."""
    d = Datagram(datagram)
    return 1 if d.held != 0 and d.end != 0 else 0


@compiled
def take_held(ipvs, packet, datagram):
    """Make ``packet`` the first fragment, which waited; the address of its ports.

    Tuple and hash are noted anew.
    """
    index = Ipvs(ipvs).index
    k = Packet(packet)
    d = Datagram(datagram)
    k.mbuf = take_waiting(ipvs, datagram)
    k.data = data_of(k.mbuf)
    l3 = k.data + ETHER_LEN
    l4 = k.data + d.held
    d.held = 0
    if is_six(l3):
        note_tuple6(index, packet, l3, l4, PROTO_SCTP)
    else:
        note_tuple(index, packet, l3, l4)
    return l4


@compiled
def note_parts(ipvs, packet, datagram, l4):
    """Note what is to be known of the packet whose first fragment has its ports at ``l4``; 0 or a
    drop reason."""
    l3 = Packet(packet).data + ETHER_LEN
    length = Datagram(datagram).end
    if is_six(l3):
        here = Ipv6(l3).payload + IP6_LEN - (l4 - l3)
        length -= l4 - (fragment_header(l3, l4) + FRAGMENT_LEN)
    else:
        here = Ipv4(l3).total - (l4 - l3)
    return note_sctp(ipvs, l4, here, length)
