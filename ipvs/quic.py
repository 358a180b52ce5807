"""QUIC: the server names itself in the connection ids it gives out, so that clients may move.

A packet of no known connection may belong to a QUIC connection whose client has another address by
now (RFC 9000 9).  Its destination connection id was chosen by the real server, which put into it
the last bytes of its own address, and its port if it likes.  Bits, most significant first:

    8 any | 3 bytes of address, less 1 | 1 port is there | address | [16 port] | nonce, 32 or more

With QUIC-LB it is a number that the operator gave the server (ipvs/quic_lb.py).

A server that is named gets the packet whatever its weight.  Only a connection's very first packets,
whose ids the client invents (Initial and 0-RTT), go to none that gets no new connections.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.dest import DEST_SIZE, Dest, usable
from ipvs.extra import Extra
from ipvs.pick import l4_of
from ipvs.quic_lb import routed
from ipvs.service import IdList, Service
from runtime.intrinsics import load8, load32, wrap
from runtime.jit import compiled
from stack.byteorder import swap32, swap64
from stack.headers import PROTO_UDP, Udp

LONG, FIXED = 0x80, 0x40  # bits of the first byte (RFC 8999 5, RFC 9000 17)
LONG_ID_AT = 6  # behind first byte, version and length
LEAST, MOST = 7, 20  # bytes of an id
TYPE = 0x30
FROM_SERVER = 0x20  # Handshake and Retry: the types whose id the server chose
VERSION_2 = 0x6B3343CF  # RFC 9369: types are numbered otherwise


@compiled
def id_of(l4):
    """Address of a packet's destination connection id, 0 when there is none to read."""
    if l4 == 0:
        return 0
    size = Udp(l4).length - 8
    first = load8(l4 + 8) if size > 0 else 0
    if first & FIXED == 0:
        return 0
    return l4 + 8 + (LONG_ID_AT if first & LONG else 1)


@compiled
def id_room(l4):
    """Bytes that the id at ``id_of`` can have: those it has, or with a short header the rest."""
    size = Udp(l4).length - 8
    if load8(l4 + 8) & LONG == 0:
        return size - 1 if size - 1 < MOST else MOST
    length = load8(l4 + 13) if size > LONG_ID_AT else 0
    return length if length <= MOST and LONG_ID_AT + length <= size else 0


@compiled
def invented(l4):
    """1 when the client may have made the id up: the connection has only begun."""
    first = load8(l4 + 8)
    if first & LONG == 0:
        return 0
    kind = first & TYPE
    if swap32(load32(l4 + 9)) == VERSION_2:
        kind = (kind - 0x10) & TYPE
    return 1 if kind < FROM_SERVER else 0


@compiled
def shifted(at, count):
    """Number made of ``count`` bytes that begin in the middle of the one at ``at``."""
    number = 0
    for i in range(count):
        byte = ((load8(at + i) & 15) << 4) | (load8(at + i + 1) >> 4)
        number = wrap(number << 8) | byte
    return number


@compiled
def is_named(dest, address, size, port):
    """1 when a real server's address ends in ``size`` bytes ``address``; ``port`` -1: any."""
    d = Dest(dest)
    own = swap64(d.low) if d.wide else d.address
    if size > 4 and d.wide == 0:
        return 0
    if size < 8:
        own = own & ((1 << (size * 8)) - 1)
    return 1 if own == address and (port < 0 or d.port == port) else 0


@compiled
def by_address(ipvs, service, at, room):
    """Real server whose address is in the connection id at ``at`` (of ``room`` bytes), or -1."""
    w = Ipvs(ipvs)
    s = Service(service)
    if room < LEAST:
        return -1
    form = load8(at + 1)
    size = (form >> 5) + 1
    with_port = (form >> 4) & 1
    # 12 bits before, 32 of nonce behind
    if room * 8 < 44 + size * 8 + with_port * 16:
        return -1
    address = shifted(at + 1, size)
    port = shifted(at + 1 + size, 2) if with_port else -1
    ids = IdList(s.dests)
    for i in range(s.dest_count):
        dest = w.dests + ids.id[i] * DEST_SIZE
        if Dest(dest).present and is_named(dest, address, size, port):
            return ids.id[i]
    return -1


@compiled
def server_of(ipvs, service, packet):
    """Real server that a packet's connection id names, or -1."""
    w = Ipvs(ipvs)
    if (Packet(packet).ports >> 32) & 0xFF != PROTO_UDP:
        return -1
    l4 = l4_of(packet)
    at = id_of(l4)
    if at == 0:
        return -1
    if Extra(Service(service).extra).quic_length:
        number = routed(service, at, id_room(l4))
    else:
        number = by_address(ipvs, service, at, id_room(l4))
    if number >= 0 and usable(w.dests, number) == 0 and invented(l4):
        return -1
    return number
