"""NAT64 (RFC 6146 with the header translation of RFC 7915): IPv6 clients, IPv4 real servers.

Side 0 of the connection is IPv6, side 1 IPv4.  The TCP or UDP header stays where it is in the
buffer; the IP and Ethernet headers in front of it are written anew.  Ports and the L4 checksum
change by the precomputed difference, which covers both pseudo headers.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.entry import ENTRY_SIZE, Entry, swap_halves
from ipvs.rewrite6 import rewrite_l4, write_addresses6
from ipvs.steps import admit, count, hear_from, mtu_towards, next_hop, send
from ipvs.table import Table
from netdev.abi import Mbuf
from netdev.mbuf import set_length
from runtime.intrinsics import load16, load64, store16, store64
from runtime.jit import compiled, inlined
from stack.checksum import fold, ipv4_header_sum, pseudo_sum, sum_bytes
from stack.context import Stack
from stack.drops import IP_TOO_BIG, IP_TTL
from stack.drops6 import IP6_HOPS, IP6_TOO_BIG
from stack.headers import ETHER_LEN, IP6_LEN, IP6_MIN_MTU, IP_DF, PROTO_UDP, Ipv4, Ipv6, Udp
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, send_error
from stack.icmp6 import TIME_EXCEEDED6, TOO_BIG6, send_error6

IP4_LEN = 20
GROWTH = IP6_LEN - IP4_LEN  # what an IPv4 packet becomes longer
MAY_SPLIT = 1260  # RFC 7915 5.1: packets up to here may be fragmented on the IPv4 side


@inlined
def _move_front(mbuf, old, new, length):
    """The frame now begins at ``new`` and has ``length`` bytes."""
    Mbuf(mbuf).data_off += new - old
    set_length(mbuf, length)
    return 0


@compiled
def write_ipv4(stack, l3, traffic_class, hops, proto, length, addresses):
    """An IPv4 header for ``length`` bytes of payload (RFC 7915 5.1); ``addresses`` raw."""
    s = Stack(stack)
    s.ip_id = (s.ip_id + 1) & 0xFFFF
    total = IP4_LEN + length
    ip = Ipv4(l3)
    ip.ver_ihl = 0x45
    ip.tos = traffic_class
    ip.total = total
    ip.id = s.ip_id
    ip.frag = IP_DF if total > MAY_SPLIT else 0
    ip.ttl = hops
    ip.proto = proto
    ip.check = 0
    store64(l3 + 12, addresses)
    store16(l3 + 10, ipv4_header_sum(l3) ^ 0xFFFF)
    return 0


@compiled
def _to_ipv4(ipvs, packet, reference, l4):
    """A client's packet to its IPv4 real server; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    l3 = k.data + ETHER_LEN
    ip = Ipv6(l3)
    proto = (k.ports >> 32) & 0xFF
    reason = admit(ipvs, reference, entry, l4, proto)
    if reason != 0:
        return reason
    hop = next_hop(ipvs, entry, 0)
    if hop < 0:
        return -hop
    length = ip.payload + IP6_LEN - (l4 - l3)
    mtu = mtu_towards(ipvs, entry, 0, hop)
    if IP4_LEN + length > mtu:
        told = mtu + GROWTH
        send_error6(
            w.stack, k.mbuf, k.data, TOO_BIG6, 0, told if told > IP6_MIN_MTU else IP6_MIN_MTU
        )
        return IP6_TOO_BIG
    hops = ip.hops
    if w.xmit_ttl:
        if hops <= 1:
            send_error6(w.stack, k.mbuf, k.data, TIME_EXCEEDED6, 0, 0)
            return IP6_HOPS
        hops -= 1
    count(ipvs, entry, 0, ip.payload + IP6_LEN)
    traffic_class = (ip.flow >> 20) & 0xFF
    front = l4 - IP4_LEN - ETHER_LEN
    _move_front(k.mbuf, k.data, front, ETHER_LEN + IP4_LEN + length)
    addresses = swap_halves(Entry(entry).side[1].addresses)
    write_ipv4(w.stack, l4 - IP4_LEN, traffic_class, hops, proto, length, addresses)
    rewrite_l4(l4, entry, 0, proto)
    return send(ipvs, hop, k.mbuf, front)


@compiled
def _give_checksum(l3, l4):
    """RFC 7915 4.5: a UDP packet without checksum gets one before it becomes IPv6."""
    length = Udp(l4).length
    total = pseudo_sum(load64(l3 + 12), PROTO_UDP, length) + sum_bytes(l4, length)
    check = fold(total) ^ 0xFFFF
    store16(l4 + 6, check if check != 0 else 0xFFFF)
    return 0


@compiled
def _to_ipv6(ipvs, packet, reference, l4):
    """A real server's packet to its IPv6 client; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    proto = ip.proto
    reason = admit(ipvs, reference, entry, l4, proto)
    if reason != 0:
        return reason
    hop = next_hop(ipvs, entry, 1)
    if hop < 0:
        return -hop
    length = ip.total - (l4 - l3)
    mtu = mtu_towards(ipvs, entry, 1, hop)
    if IP6_LEN + length > mtu:
        send_error(w.stack, k.mbuf, k.data, UNREACHABLE, FRAG_NEEDED, mtu - GROWTH)
        return IP_TOO_BIG
    hops = ip.ttl
    if w.xmit_ttl:
        if hops <= 1:
            send_error(w.stack, k.mbuf, k.data, TIME_EXCEEDED, 0, 0)
            return IP_TTL
        hops -= 1
    hear_from(w.stack, entry, k.data)
    count(ipvs, entry, 1, ip.total)
    if proto == PROTO_UDP and load16(l4 + 6) == 0:
        _give_checksum(l3, l4)
    tos = ip.tos
    front = l4 - IP6_LEN - ETHER_LEN
    _move_front(k.mbuf, k.data, front, ETHER_LEN + IP6_LEN + length)
    new = Ipv6(l4 - IP6_LEN)
    new.flow = (6 << 28) | (tos << 20)
    new.payload = length
    new.next = proto
    new.hops = hops
    write_addresses6(new.ptr, entry, 1)
    rewrite_l4(l4, entry, 1, proto)
    return send(ipvs, hop, k.mbuf, front)


@compiled
def forward_nat64(ipvs, packet, reference, l4):
    """Forward a packet of a connection between the families; 0 or a drop reason."""
    if reference & 1:
        return _to_ipv6(ipvs, packet, reference, l4)
    return _to_ipv4(ipvs, packet, reference, l4)
