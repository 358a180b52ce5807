"""ICMP errors of routers between us and a tunnel's end, told to the client (RFC 2003 section 4).

They are about the outer packet, which we sent; the client sent what is inside.  The new error
stands directly in front of the inner packet, in place of the outer one.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import ICMP_QUOTE, ICMP_UNRELATED
from ipvs.entry import S_TUNNEL, Entry, swap_halves, tuple_hash
from ipvs.handover import hand_over
from ipvs.header64 import IP4_LEN, write_header4
from ipvs.icmp64 import ERROR4_BYTES
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.seek import go_round
from ipvs.table import entry_of
from ipvs.to_ipv4 import move_front
from ipvs.tunnel import OUTER
from ipvs.types64 import NO_ERROR, plateau
from runtime.intrinsics import load32, load64, store16
from runtime.jit import compiled
from stack.checksum import checksum
from stack.context import Stack
from stack.drops import ICMP_RATE
from stack.headers import ETHER_LEN, IP_MIN_MTU, PROTO_ICMP, Icmp, Ipv4
from stack.icmp import (
    FRAG_NEEDED,
    HOST_UNREACHABLE,
    TIME_EXCEEDED,
    TTL,
    UNREACHABLE,
    rate_allows,
)
from stack.ipv4 import output

CONTROL = 0xC0  # RFC 1812 4.3.2.5


@compiled
def _code_of(icmp):
    """Code of the destination unreachable that the client is told, or NO_ERROR."""
    told = Icmp(icmp)
    if told.type == TIME_EXCEEDED:
        return HOST_UNREACHABLE if told.code == 0 else NO_ERROR
    if told.type != UNREACHABLE or told.code > FRAG_NEEDED or told.code == 3:
        return NO_ERROR
    return FRAG_NEEDED if told.code == FRAG_NEEDED else HOST_UNREACHABLE


@compiled
def _room_of(icmp):
    """Bytes of the client's packets that the path told of takes, 0 for other errors."""
    if Icmp(icmp).type != UNREACHABLE or Icmp(icmp).code != FRAG_NEEDED:
        return 0
    mtu = Icmp(icmp).rest & 0xFFFF
    if mtu == 0:
        mtu = plateau(Ipv4(icmp + 8).total)
    return max(mtu - OUTER, IP_MIN_MTU)


@compiled
def _tell(ipvs, packet, inner, end, code, room):
    """Send the error about the packet that begins at ``inner``; 0 or a drop reason."""
    s = Stack(Ipvs(ipvs).stack)
    k = Packet(packet)
    if rate_allows(s.ptr) == 0:
        return ICMP_RATE
    icmp = inner - 8
    l3 = icmp - IP4_LEN
    end = min(end, l3 + ERROR4_BYTES)
    back = swap_halves(load64(inner + 12))
    move_front(packet, l3 - ETHER_LEN, end - l3 + ETHER_LEN)
    s.ip_id = (s.ip_id + 1) & 0xFFFF
    write_header4(l3, CONTROL, TTL, PROTO_ICMP, end - icmp, back, s.ip_id, 0)
    told = Icmp(icmp)
    told.type = UNREACHABLE
    told.code = code
    told.check = 0
    told.rest = room
    store16(icmp + 2, checksum(icmp, end - icmp))
    return output(s.ptr, k.mbuf, k.data)


@compiled
def relay(ipvs, packet, handed, icmp, length):
    """A checked error of ``length`` bytes about an IPv4 packet in IPv4 of ours; 0 or a reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    outer = Ipv4(icmp + 8)
    inner = outer.ptr + (outer.ver_ihl & 15) * 4
    end = icmp + length
    if inner + 28 > end:
        return ICMP_QUOTE
    ip = Ipv4(inner)
    size = (ip.ver_ihl & 15) * 4
    if ip.ver_ihl >> 4 != 4 or size < 20 or inner + size + 8 > end:
        return ICMP_QUOTE
    addresses = load64(inner + 12)
    ports = load32(inner + size) | (ip.proto << 32)
    hashed = tuple_hash(w.index + SEED_AT, addresses, ports)
    reference = find(w.index, home(w.index, hashed), tag_of(hashed), addresses, ports)
    if reference == 0:
        # Of the client's tuple nothing tells where it came in.
        owner = go_round(ipvs, k.mbuf, handed)
        return hand_over(ipvs, k.mbuf, owner) if owner >= 0 else ICMP_UNRELATED
    code = _code_of(icmp)
    if Entry(entry_of(w.table, reference >> 1)).special & S_TUNNEL == 0 or code == NO_ERROR:
        return ICMP_UNRELATED
    return _tell(ipvs, packet, inner, end, code, _room_of(icmp))
