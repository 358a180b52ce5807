"""IPv4 input checks, local delivery, forwarding and output.  Compiled.

This is the thorough path: control traffic, first packets of connections and everything unusual.
Packets of known connections are checked by ipvs/classify.py, which applies the same rules to the
common shape of a header in a handful of instructions.
"""

from __future__ import annotations

from netdev.abi import Mbuf
from netdev.mbuf import set_length
from netdev.port import Port
from runtime.intrinsics import load8, load16, load64, store16
from runtime.jit import compiled, inlined
from stack.checksum import fold, sum_bytes, update
from stack.context import Stack
from stack.drops import (
    ETH_OTHERHOST,
    IP_BROADCAST,
    IP_CHECKSUM,
    IP_DESTINATION,
    IP_FRAGMENT,
    IP_HEADER_LENGTH,
    IP_LOOP,
    IP_NO_ROUTE,
    IP_NOT_FORWARDED,
    IP_OPTIONS,
    IP_PROTOCOL,
    IP_SHORT,
    IP_SOURCE,
    IP_SOURCE_ROUTE,
    IP_TOO_BIG,
    IP_TOTAL_LENGTH,
    IP_TTL,
    IP_VERSION,
    NEIGH_FULL,
    PORT_DOWN,
)
from stack.headers import ETHER_LEN, IP_DF, IP_MF, IP_OFFSET, PROTO_ICMP, Ipv4
from stack.icmp import FRAG_NEEDED, TIME_EXCEEDED, UNREACHABLE, echo, send_error
from stack.neigh import FORWARDED, find_or_add
from stack.route import GATEWAY, LINK, LOCAL, Route, lookup
from stack.split import send_split
from stack.upkeep import output as neighbour_output

MAC_MASK = 0xFFFFFFFFFFFF
ONE_LESS = 0xFFFE  # checksum difference of a word whose low byte (as loaded) became one less


@compiled
def check_options(l3, size):
    """0 when the options in a header of ``size`` bytes are well-formed and harmless (RFC 791)."""
    at = l3 + 20
    end = l3 + size
    while at < end:
        kind = load8(at)
        if kind == 0:
            return 0
        if kind == 1:
            at += 1
            continue
        if at + 2 > end:
            return IP_OPTIONS
        length = load8(at + 1)
        if length < 2 or at + length > end:
            return IP_OPTIONS
        if kind == 131 or kind == 137:
            return IP_SOURCE_ROUTE
        at += length
    return 0


@compiled
def check_addresses(src, dst):
    """0 when both addresses may appear on the wire (RFC 1812 5.3.7), else a drop reason."""
    top = src >> 24
    if top == 0 or top == 127 or top >= 224:
        return IP_SOURCE
    top = dst >> 24
    if top == 0 or top == 127 or top >= 240:
        return IP_DESTINATION
    if src == dst:
        return IP_LOOP
    return 0


@compiled
def check_header(mbuf, l3, length):
    """All RFC 791/1122 checks of a header with ``length`` bytes of frame behind the Ethernet
    header; cuts link padding off.  0 or a drop reason."""
    if length < 20:
        return IP_SHORT
    ip = Ipv4(l3)
    if ip.ver_ihl >> 4 != 4:
        return IP_VERSION
    size = (ip.ver_ihl & 15) * 4
    if size < 20 or size > length:
        return IP_HEADER_LENGTH
    total = ip.total
    if total < size or total > length:
        return IP_TOTAL_LENGTH
    if fold(sum_bytes(l3, size)) != 0xFFFF:
        return IP_CHECKSUM
    reason = check_addresses(ip.src, ip.dst)
    if reason != 0:
        return reason
    if total < length:
        set_length(mbuf, ETHER_LEN + total)
    if size > 20:
        return check_options(l3, size)
    return 0


@compiled
def frame_class(stack, data, port):
    """0 when the frame is for our MAC, else the reason an IP packet in it is dropped for."""
    dst = load64(data) & MAC_MASK
    if dst == Port(Stack(stack).ports[port]).mac:
        return 0
    return IP_BROADCAST if dst & 1 else ETH_OTHERHOST


@compiled
def route_mtu(stack, route):
    """Bytes of an IP packet that may leave by ``route``."""
    r = Route(route)
    mtu = Port(Stack(stack).ports[r.port]).mtu
    return r.mtu if (r.mtu != 0 and r.mtu < mtu) else mtu


@compiled
def send_via(stack, route, dst, mbuf, data):
    """Hand an IPv4 packet to the next hop of ``route``: MTU check, neighbour; 0 or a reason.

    A packet beyond the MTU is sent in fragments or, with DF, answered with fragmentation needed.
    """
    s = Stack(stack)
    r = Route(route)
    if r.kind == LOCAL:
        return IP_LOOP
    p = Port(s.ports[r.port])
    if p.up == 0 or p.tx_queue < 0:
        return PORT_DOWN
    mtu = route_mtu(stack, route)
    large = Mbuf(mbuf).pkt_len - ETHER_LEN > mtu
    if large and Ipv4(data + ETHER_LEN).frag & IP_DF:
        send_error(stack, mbuf, data, UNREACHABLE, FRAG_NEEDED, mtu)
        return IP_TOO_BIG
    hop = r.gateway if r.kind == GATEWAY else dst
    entry = find_or_add(stack, r.port, hop)
    if entry == 0:
        return NEIGH_FULL
    if large:
        return send_split(stack, entry, mbuf, data, mtu)
    return neighbour_output(stack, entry, mbuf)


@compiled
def output(stack, mbuf, data):
    """Route and send a complete IPv4 packet of ours (Ethernet header space in front)."""
    dst = Ipv4(data + ETHER_LEN).dst
    route = lookup(Stack(stack).routes, dst)
    if route == 0:
        return IP_NO_ROUTE
    return send_via(stack, route, dst, mbuf, data)


@inlined
def decrement_ttl(l3):
    """TTL minus one with the checksum updated incrementally (RFC 1624)."""
    ip = Ipv4(l3)
    ip.ttl -= 1
    store16(l3 + 10, update(load16(l3 + 10), ONE_LESS))
    return 0


@compiled
def is_directed(route, address):
    """1 when ``address``, which ``route`` leads to, stands for all hosts of a link of ours
    (RFC 1812 4.2.2.11 d, RFC 2644; the old form with zeros too)."""
    if route == 0 or Route(route).kind != LINK or Route(route).length > 30:
        return 0
    hosts = (1 << (32 - Route(route).length)) - 1
    host = address & hosts
    return 1 if host == 0 or host == hosts else 0


@compiled
def forward(stack, route, mbuf, data):
    """Forward a packet that is not for us (RFC 1812 5.2, 5.3); 0 or a drop reason."""
    if Stack(stack).forwarding == 0:
        return IP_NOT_FORWARDED
    ip = Ipv4(data + ETHER_LEN)
    if ip.dst >> 28 == 14 or is_directed(route, ip.dst):
        return IP_DESTINATION
    if route == 0:
        send_error(stack, mbuf, data, UNREACHABLE, 0, 0)
        return IP_NO_ROUTE
    if ip.ttl <= 1:
        send_error(stack, mbuf, data, TIME_EXCEEDED, 0, 0)
        return IP_TTL
    # Before the TTL is lowered: the error quotes the packet as it came.
    mtu = route_mtu(stack, route)
    if ip.total > mtu and ip.frag & IP_DF:
        send_error(stack, mbuf, data, UNREACHABLE, FRAG_NEEDED, mtu)
        return IP_TOO_BIG
    decrement_ttl(ip.ptr)
    Mbuf(mbuf).packet_type = FORWARDED
    return send_via(stack, route, ip.dst, mbuf, data)


@compiled
def deliver(stack, mbuf, data):
    """A checked packet to one of our addresses: ICMP is answered, the rest dropped by name."""
    ip = Ipv4(data + ETHER_LEN)
    if ip.frag & (IP_MF | IP_OFFSET):
        return IP_FRAGMENT
    if ip.proto == PROTO_ICMP:
        reason = echo(stack, mbuf, data)
        if reason != 0:
            return reason
        return output(stack, mbuf, data)
    return IP_PROTOCOL


@compiled
def receive_ipv4(stack, mbuf, data):
    """Route a packet that passed check_header and that no virtual service wants."""
    s = Stack(stack)
    ip = Ipv4(data + ETHER_LEN)
    from_us = lookup(s.routes, ip.src)
    if from_us != 0 and Route(from_us).kind == LOCAL:
        return IP_LOOP
    if is_directed(from_us, ip.src):
        return IP_SOURCE
    route = lookup(s.routes, ip.dst)
    if route != 0 and Route(route).kind == LOCAL:
        return deliver(stack, mbuf, data)
    return forward(stack, route, mbuf, data)
