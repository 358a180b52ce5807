"""NAT64 (RFC 6146 with the header translation of RFC 7915): IPv6 clients, IPv4 real servers.

Side 0 of the connection is IPv6, side 1 IPv4.  The transport header stays where it is in the
buffer; the IP and Ethernet headers in front of it are written anew.  Ports and the L4 checksum
change by the precomputed difference, which covers both pseudo headers (SCTP has none).

Fragments stay fragments.  What an IPv4 host allows to be fragmented arrives on the IPv6 side in
fragments that fit every link, since no error would ever tell that host of a smaller one.
"""

from __future__ import annotations

from ipvs.changes import CHANGED, content_of, from_client, from_server
from ipvs.context import Ipvs, Packet
from ipvs.drops import FRAG_NAT64
from ipvs.entry import ENTRY_SIZE, Entry
from ipvs.header64 import (
    GROWTH,
    IP4_LEN,
    may_split,
    write_fragment6,
    write_header6,
)
from ipvs.rewrite6 import write_addresses6
from ipvs.room import l3_of
from ipvs.steps import admit, count, hear_from, mtu_towards, next_hop, send
from ipvs.table import Table
from ipvs.to_ipv4 import NOT_FRAGMENTED, move_front, rewrite_upper, send_as_ipv4
from runtime.intrinsics import load16, load64, store16
from runtime.jit import compiled
from stack.checksum import fold, pseudo_sum, sum_bytes
from stack.drops import IP_TOO_BIG, IP_TTL
from stack.drops6 import IP6_HOPS, IP6_TOO_BIG
from stack.exthdr import fragment_header, upper_of
from stack.headers import (
    ETHER_LEN,
    FRAGMENT_LEN,
    IP6_LEN,
    IP6_MIN_MTU,
    IP_DF,
    IP_MF,
    IP_OFFSET,
    PROTO_UDP,
    Fragment,
    Ipv4,
    Ipv6,
    Udp,
)
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.icmp6 import TIME_EXCEEDED6, TOO_BIG6, send_error6
from stack.split import place4, send_split


@compiled
def _place_of(l3, at, proto):
    """IPv4's word and, from bit 16 on, identification of a fragment with content at ``at``.

    NOT_FRAGMENTED without a fragment header; a drop reason when it cannot be translated.  Headers
    behind it are part of what is fragmented: without them the others' offsets would be wrong.
    """
    fragment = fragment_header(l3, at)
    if fragment == 0:
        return NOT_FRAGMENTED
    f = Fragment(fragment)
    if fragment + FRAGMENT_LEN != at or f.next != proto:
        return -FRAG_NAT64
    return place4(f.place) | ((f.id & 0xFFFF) << 16)


@compiled
def _to_ipv4(ipvs, packet, entry, at, first):
    """A client's packet, content at ``at``, to its IPv4 real server; 0 or a drop reason.

    ``first``: the content begins with the ports.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    ip = Ipv6(l3)
    proto = (Entry(entry).side[1].ports >> 32) & 0xFF
    hop = next_hop(ipvs, entry, 0)
    if hop < 0:
        return -hop
    length = ip.payload + IP6_LEN - (at - l3)
    place = _place_of(l3, at, proto) if at != l3 + IP6_LEN else NOT_FRAGMENTED
    if place == -FRAG_NAT64:
        return FRAG_NAT64
    frag = place & 0xFFFF if place >= 0 else may_split(length)
    mtu = mtu_towards(ipvs, entry, 0, hop)
    if IP4_LEN + length > mtu and frag & IP_DF:
        told = max(mtu + GROWTH, IP6_MIN_MTU)
        send_error6(w.stack, k.mbuf, k.data, TOO_BIG6, 0, told)
        return IP6_TOO_BIG
    if w.xmit_ttl:
        if ip.hops <= 1:
            send_error6(w.stack, k.mbuf, k.data, TIME_EXCEEDED6, 0, 0)
            return IP6_HOPS
        ip.hops -= 1
    count(ipvs, entry, 0, ip.payload + IP6_LEN)
    if first == 0:
        return send_as_ipv4(ipvs, packet, entry, hop, at, 0, place)
    l4 = at
    if Entry(entry).special & CHANGED:
        l4 = from_client(ipvs, packet, entry, hop, at, mtu + GROWTH, proto)
        if l4 < 0:
            return -l4
    return send_as_ipv4(ipvs, packet, entry, hop, content_of(l3_of(packet), l4), l4, place)


@compiled
def _give_checksum(l3, l4):
    """RFC 7915 4.5: a UDP packet without checksum gets one before it becomes IPv6.

    Of a fragmented one not all bytes are here.  0 or a drop reason.
    """
    if Ipv4(l3).frag & IP_MF:
        return FRAG_NAT64
    length = Udp(l4).length
    total = pseudo_sum(load64(l3 + 12), PROTO_UDP, length) + sum_bytes(l4, length)
    check = fold(total) ^ 0xFFFF
    store16(l4 + 6, check if check != 0 else 0xFFFF)
    return 0


@compiled
def _to_ipv6(ipvs, packet, entry, at, first):
    """A real server's packet, content at ``at``, to its IPv6 client; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    proto = ip.proto
    hop = next_hop(ipvs, entry, 1)
    if hop < 0:
        return -hop
    length = ip.total - (at - l3)
    frag = ip.frag
    mtu = mtu_towards(ipvs, entry, 1, hop)
    if frag & IP_DF == 0:
        mtu = min(mtu, IP6_MIN_MTU)
    head = IP6_LEN
    if frag & (IP_MF | IP_OFFSET) or (frag & IP_DF == 0 and head + length > mtu):
        head += FRAGMENT_LEN
    if head + length > mtu and frag & IP_DF:
        told = mtu - (head - IP4_LEN)
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, told)
        return IP_TOO_BIG
    hops = ip.ttl
    if w.xmit_ttl:
        if hops <= 1:
            send_error(w.stack, k.mbuf, k.data, TIME_EXCEEDED, 0, 0)
            return IP_TTL
        hops -= 1
    if first and proto == PROTO_UDP and load16(at + 6) == 0:
        reason = _give_checksum(l3, at)
        if reason != 0:
            return reason
    if first and Entry(entry).special & CHANGED:
        from_server(entry, l3, at, proto)
    hear_from(w.stack, entry, k.data)
    count(ipvs, entry, 1, ip.total)
    tos = ip.tos
    ident = ip.id
    new = at - head
    move_front(packet, new - ETHER_LEN, ETHER_LEN + head + length)
    if head == IP6_LEN:
        write_header6(new, tos, hops, proto, length)
    else:
        write_fragment6(new, tos, hops, proto, length, ident, frag)
    write_addresses6(new, entry, 1)
    if first:
        rewrite_upper(ipvs, at, entry, 1, proto)
    if head + length > mtu:
        return send_split(w.stack, hop, k.mbuf, k.data, mtu)
    return send(ipvs, hop, k.mbuf, k.data)


@compiled
def forward_nat64(ipvs, packet, reference, l4):
    """Forward a packet of a connection between the families; 0 or a drop reason."""
    entry = Table(Ipvs(ipvs).table).entries + (reference >> 1) * ENTRY_SIZE
    reason = admit(ipvs, reference, entry, l4, (Packet(packet).ports >> 32) & 0xFF)
    if reason != 0:
        return reason
    if reference & 1:
        return _to_ipv6(ipvs, packet, entry, l4, 1)
    return _to_ipv4(ipvs, packet, entry, l4, 1)


@compiled
def later_to_ipv4(ipvs, packet, entry):
    """Forward a client's later fragment; 0 or a drop reason."""
    l3 = Packet(packet).data + ETHER_LEN
    found = upper_of(l3, Ipv6(l3).payload + IP6_LEN)
    return _to_ipv4(ipvs, packet, entry, l3 + (found >> 8) + FRAGMENT_LEN, 0)


@compiled
def later_to_ipv6(ipvs, packet, entry):
    """Forward a real server's later fragment; 0 or a drop reason."""
    l3 = Packet(packet).data + ETHER_LEN
    return _to_ipv6(ipvs, packet, entry, l3 + (Ipv4(l3).ver_ihl & 15) * 4, 0)
