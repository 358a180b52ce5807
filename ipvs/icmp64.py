"""ICMP errors of NAT64 connections become those of the other family (RFC 7915 4.2, 4.3, 5.2, 5.3).

The quotation's ports stay where they are in the buffer; everything in front of them is written
anew: Ethernet, IP, ICMP and the quoted IP header.  The error seems to come from the virtual
address (to the client) or from the local address (to the server): routers of one family have no
address in the other.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import ICMP_UNRELATED
from ipvs.entry import (
    FORWARD_AT,
    S_PROXY,
    S_SEQ,
    S_TOA,
    Entry,
    Forward,
    Side,
    swap_halves,
)
from ipvs.header64 import GROWTH, IP4_LEN, write_header4, write_header6, write_ipv4
from ipvs.sctp import restore_sctp
from ipvs.sequence import restore_quoted_seq
from ipvs.steps import mtu_towards, next_hop, send, tally
from ipvs.toa import size_of
from ipvs.wide_entry import WIDE_AT, WideSide
from netdev.abi import Mbuf
from netdev.mbuf import set_length
from runtime.intrinsics import load8, load16, load32, store8, store16, store32, store64
from runtime.jit import compiled
from stack.checksum import checksum, checksum6, update
from stack.drops import IP_TTL
from stack.drops6 import IP6_HOPS
from stack.exthdr import fragment_header
from stack.headers import (
    ETHER_LEN,
    IP6_DST,
    IP6_LEN,
    IP6_MF,
    IP6_MIN_MTU,
    IP6_SRC,
    IP_DF,
    IP_MF,
    PROTO_ICMP,
    PROTO_ICMP6,
    PROTO_SCTP,
    PROTO_TCP,
    Fragment,
    Icmp,
    Ipv4,
    Ipv6,
)

NO_ERROR = -1  # this one has no counterpart
ERROR4_BYTES = 576  # RFC 1812 4.3.2.3: as much as fits without exceeding this


@compiled
def to_type6(kind, code):
    """ICMPv6 type << 8 | code of an ICMPv4 error (RFC 7915 4.2), or NO_ERROR."""
    if kind == 11:
        return 3 << 8 | code
    if kind != 3:
        # Source quench is obsolete; parameter problems are about headers nobody has any more.
        return NO_ERROR
    if code == 2:
        return 4 << 8 | 1
    if code == 3:
        return 1 << 8 | 4
    if code == 4:
        return 2 << 8
    if code == 9 or code == 10 or code == 13 or code == 15:
        return 1 << 8 | 1
    if code == 14 or code > 15:
        return NO_ERROR
    return 1 << 8


@compiled
def to_type4(kind, code):
    """ICMPv4 type << 8 | code of an ICMPv6 error (RFC 7915 5.2), or NO_ERROR."""
    if kind == 1:
        if code == 1:
            return 3 << 8 | 10
        return 3 << 8 | (3 if code == 4 else 1)
    if kind == 2:
        return 3 << 8 | 4
    if kind == 3:
        return 11 << 8 | code
    return 3 << 8 | 2 if code == 1 else NO_ERROR


@compiled
def length_of6(quoted, l4):
    """Bytes from ``l4`` on of a quoted IPv6 packet, 0 for a fragment, which does not tell."""
    fragment = fragment_header(quoted, l4)
    if fragment != 0 and Fragment(fragment).place & IP6_MF:
        return 0
    return Ipv6(quoted).payload + IP6_LEN - (l4 - quoted)


@compiled
def restore_l4(l4, end, entry, side, length):
    """Ports (identifier) and checksum of the quoted packet as its sender sent them.

    TCP's and SCTP's checksum may lie behind the end of the quotation, ``end``.  ``length``: bytes
    of the packet from ``l4`` on, 0 when not known.
    """
    ports = Side(entry + (side ^ 1) * 16).ports
    proto = (ports >> 32) & 0xFF
    if proto == PROTO_SCTP:
        return restore_sctp(l4, end, ports, length)
    if proto == PROTO_ICMP6:
        store16(l4 + 4, (ports if side == 0 else ports >> 16) & 0xFFFF)
        at = l4 + 2
    else:
        store32(l4, ports)
        at = l4 + (16 if proto == PROTO_TCP else 6)
    whole = 1 if at + 2 <= end else 0
    if whole:
        new = update(load16(at), Forward(entry + FORWARD_AT + side * 8).l4_delta)
        store16(at, new if new != 0 else 0xFFFF)
    if proto == PROTO_TCP and side == 1 and Entry(entry).special & (S_SEQ | S_PROXY):
        restore_quoted_seq(entry, l4, whole)
    return 0


@compiled
def grown(entry, side):
    """Bytes that our option makes a client's segment longer: its MTU is so much less."""
    return size_of(entry) if (side == 1 and Entry(entry).special & S_TOA) else 0


@compiled
def _begin_at(packet, data, end):
    """The frame now lies between ``data`` and ``end``."""
    k = Packet(packet)
    Mbuf(k.mbuf).data_off += data - k.data
    set_length(k.mbuf, end - data)
    return 0


@compiled
def _write6(l3, entry, turned, proto, hops, length, traffic):
    """An IPv6 header between the client and the virtual address (``turned``: to the client)."""
    client = WideSide(entry + WIDE_AT)
    write_header6(l3, traffic, hops, proto, length)
    source = IP6_DST if turned else IP6_SRC
    target = IP6_SRC if turned else IP6_DST
    store64(l3 + source, client.src_high)
    store64(l3 + source + 8, client.src_low)
    store64(l3 + target, client.dst_high)
    store64(l3 + target + 8, client.dst_low)
    return 0


@compiled
def error_to_ipv6(ipvs, packet, entry, icmp, length, l4):
    """A checked ICMPv4 error about a packet sent to the server, on to the client."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    became = to_type6(load8(icmp), load8(icmp + 1))
    if became == NO_ERROR:
        return ICMP_UNRELATED
    hops = Ipv4(k.data + ETHER_LEN).ttl
    if w.xmit_ttl:
        if hops <= 1:
            return IP_TTL
        hops -= 1
    hop = next_hop(ipvs, entry, 1)
    if hop < 0:
        return -hop
    tally(ipvs, entry, 1, Ipv4(k.data + ETHER_LEN).total)
    rest = load32(icmp + 4)
    mtu = ((rest >> 16) & 0xFF) << 8 | (rest >> 24)
    quoted = Ipv4(icmp + 8)
    payload = quoted.total - (quoted.ver_ihl & 15) * 4
    whole = 0 if quoted.frag & IP_MF else payload
    quoted_hops = quoted.ttl
    quoted_tos = quoted.tos
    quoted_proto = quoted.proto
    new = l4 - IP6_LEN - 8
    l3 = new - IP6_LEN
    end = icmp + length
    if end > l3 + IP6_MIN_MTU:
        end = l3 + IP6_MIN_MTU
    restore_l4(l4, end, entry, 1, whole)
    _begin_at(packet, l3 - ETHER_LEN, end)
    _write6(l4 - IP6_LEN, entry, 0, quoted_proto, quoted_hops, payload, quoted_tos)
    _write6(l3, entry, 1, PROTO_ICMP6, hops, end - new, 0)
    store8(new, became >> 8)
    store8(new + 1, became & 0xFF)
    store16(new + 2, 0)
    told = 0
    if became >> 8 == 2:
        told = mtu + GROWTH - grown(entry, 1)
        limit = mtu_towards(ipvs, entry, 1, hop)
        told = told if told < limit else limit
        told = told if told > IP6_MIN_MTU else IP6_MIN_MTU
    elif became == 4 << 8 | 1:
        told = 6  # RFC 7915 4.2: points to the next header field
    Icmp(new).rest = told
    store16(new + 2, checksum6(l3, new, PROTO_ICMP6, end - new) ^ 0xFFFF)
    return send(ipvs, hop, k.mbuf, l3 - ETHER_LEN)


@compiled
def error_to_ipv4(ipvs, packet, entry, icmp, length, l4):
    """A checked ICMPv6 error about a packet sent to the client, on to the server."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    became = to_type4(load8(icmp), load8(icmp + 1))
    if became == NO_ERROR:
        return ICMP_UNRELATED
    hops = Ipv6(k.data + ETHER_LEN).hops
    if w.xmit_ttl:
        if hops <= 1:
            return IP6_HOPS
        hops -= 1
    hop = next_hop(ipvs, entry, 0)
    if hop < 0:
        return -hop
    tally(ipvs, entry, 0, Ipv6(k.data + ETHER_LEN).payload + IP6_LEN)
    mtu = Icmp(icmp).rest
    quoted = Ipv6(icmp + 8)
    payload = quoted.payload + IP6_LEN - (l4 - quoted.ptr)
    whole = length_of6(quoted.ptr, l4)
    quoted_hops = quoted.hops
    traffic = (quoted.flow >> 20) & 0xFF
    proto = (Entry(entry).side[1].ports >> 32) & 0xFF
    new = l4 - IP4_LEN - 8
    l3 = new - IP4_LEN
    end = icmp + length
    if end > l3 + ERROR4_BYTES:
        end = l3 + ERROR4_BYTES
    addresses = Entry(entry).side[1].addresses
    restore_l4(l4, end, entry, 0, whole)
    _begin_at(packet, l3 - ETHER_LEN, end)
    # Its identification is not known.
    write_header4(l4 - IP4_LEN, traffic, quoted_hops, proto, payload, addresses, 0, IP_DF)
    write_ipv4(w.stack, l3, 0, hops, PROTO_ICMP, end - new, swap_halves(addresses))
    store8(new, became >> 8)
    store8(new + 1, became & 0xFF)
    store16(new + 2, 0)
    told = 0
    if became == 3 << 8 | 4:
        told = mtu - GROWTH
        limit = mtu_towards(ipvs, entry, 0, hop)
        told = told if told < limit else limit
        told = told if told > 68 else 68
    Icmp(new).rest = told
    store16(new + 2, checksum(new, end - new))
    return send(ipvs, hop, k.mbuf, l3 - ETHER_LEN)
