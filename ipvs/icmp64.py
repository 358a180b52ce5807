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
from ipvs.types64 import NO_ERROR, plateau, pointer4, pointer6, to_type4, to_type6
from ipvs.wide_entry import WIDE_AT, WideSide
from netdev.abi import Mbuf
from netdev.mbuf import set_length
from runtime.intrinsics import load16, store8, store16, store32, store64
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
    IP_MIN_MTU,
    PROTO_ICMP,
    PROTO_ICMP6,
    PROTO_SCTP,
    PROTO_TCP,
    Fragment,
    Icmp,
    Ipv4,
    Ipv6,
)

ERROR4_BYTES = 576  # RFC 1812 4.3.2.3: as much as fits without exceeding this


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
def _takes(ipvs, entry, side):
    """MTU of the next hop of packets that arrive on ``side``; of any size when there is none."""
    hop = next_hop(ipvs, entry, side)
    return mtu_towards(ipvs, entry, side, hop) if hop >= 0 else 0xFFFF


@compiled
def _told6(entry, became, rest, total, four, six):
    """Second word of an error to the client about its packet, of ``total`` bytes as IPv4.

    ``rest``: that of the error that came.  An MTU is the least of what the router told and the
    next hops of both families take (``four``, ``six``), all as the client's header counts.
    """
    if became == 4 << 8 | 1:
        return 6  # the next header field
    if became == 4 << 8:
        return pointer6(rest >> 24)
    if became >> 8 != 2:
        return 0
    mtu = rest & 0xFFFF
    if mtu == 0:
        mtu = plateau(total)
    told = min(min(mtu, four) + GROWTH - grown(entry, 1), six)
    return max(told, IP6_MIN_MTU)


@compiled
def _told4(became, rest, four, six):
    """The same for an error to the server (RFC 7915 5.2)."""
    if became == 12 << 8:
        return pointer4(rest) << 24
    if became != 3 << 8 | 4:
        return 0
    return max(min(min(rest, six) - GROWTH, four), IP_MIN_MTU)


@compiled
def _write_icmp(icmp, became, told):
    """Type, code and second word of an error; its checksum is still to be computed."""
    store8(icmp, became >> 8)
    store8(icmp + 1, became & 0xFF)
    store16(icmp + 2, 0)
    Icmp(icmp).rest = told
    return 0


@compiled
def error_to_ipv6(ipvs, packet, entry, icmp, length, l4):
    """A checked ICMPv4 error about a packet sent to the server, on to the client."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    became = to_type6(icmp)
    if became == NO_ERROR:
        return ICMP_UNRELATED
    hops = Ipv4(k.data + ETHER_LEN).ttl
    if w.xmit_ttl:
        if hops <= 1:
            return IP_TTL
        hops -= 1
    four = _takes(ipvs, entry, 0)
    hop = next_hop(ipvs, entry, 1)
    if hop < 0:
        return -hop
    tally(ipvs, entry, 1, Ipv4(k.data + ETHER_LEN).total)
    quoted = Ipv4(icmp + 8)
    six = mtu_towards(ipvs, entry, 1, hop)
    told = _told6(entry, became, Icmp(icmp).rest, quoted.total, four, six)
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
    _write_icmp(new, became, told)
    store16(new + 2, checksum6(l3, new, PROTO_ICMP6, end - new) ^ 0xFFFF)
    return send(ipvs, hop, k.mbuf, l3 - ETHER_LEN)


@compiled
def error_to_ipv4(ipvs, packet, entry, icmp, length, l4):
    """A checked ICMPv6 error about a packet sent to the client, on to the server."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    became = to_type4(icmp)
    if became == NO_ERROR:
        return ICMP_UNRELATED
    hops = Ipv6(k.data + ETHER_LEN).hops
    if w.xmit_ttl:
        if hops <= 1:
            return IP6_HOPS
        hops -= 1
    six = _takes(ipvs, entry, 1)
    hop = next_hop(ipvs, entry, 0)
    if hop < 0:
        return -hop
    tally(ipvs, entry, 0, Ipv6(k.data + ETHER_LEN).payload + IP6_LEN)
    told = _told4(became, Icmp(icmp).rest, mtu_towards(ipvs, entry, 0, hop), six)
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
    _write_icmp(new, became, told)
    store16(new + 2, checksum(new, end - new))
    return send(ipvs, hop, k.mbuf, l3 - ETHER_LEN)
