"""Neighbour discovery messages we send (RFC 4861 4.3, 4.4): solicitations and advertisements."""

from __future__ import annotations

from netdev.abi import HEADROOM, Mbuf
from netdev.mbuf import allocate, data_of, set_length
from netdev.port import Port, transmit
from runtime.intrinsics import load64, store8, store16, store32, store64
from runtime.jit import compiled
from stack.address6 import (
    ALL_NODES_LOW,
    MULTICAST_LINK_HIGH,
    multicast_mac6,
    solicited_low,
)
from stack.checksum import checksum6
from stack.context import Stack
from stack.drops import NO_MBUF
from stack.headers import ETHER_LEN, IP6_DST, IP6_LEN, IP6_SRC, PROTO_ICMP6, Ipv6
from stack.local6 import source_high6, source_low6
from stack.neigh import USABLE, Neighbour, count_drop
from stack.neigh6 import address6_at

SOLICITATION = 135
ADVERTISEMENT = 136
SOURCE_MAC_OPTION = 1
TARGET_MAC_OPTION = 2
ND_HOPS = 255  # RFC 4861 11.2: nobody off the link can send that
SOLICITED = 0x40000000
OVERRIDE = 0x20000000
TARGET_AT = IP6_LEN + 8  # from the IPv6 header
OPTION_AT = TARGET_AT + 16
MAC_MASK = 0xFFFFFFFFFFFF


@compiled
def write_mac(at, mac):
    """Store a MAC address of 48 bits."""
    store32(at, mac & 0xFFFFFFFF)
    store16(at + 4, mac >> 32)
    return 0


@compiled
def blank6(stack, port, following, hops):
    """A frame of ours that ends with its fixed IPv6 header, without addresses, length and
    destination MAC; 0 without an mbuf.  ``following``: next header."""
    s = Stack(stack)
    mbuf = allocate(s.calls)
    if mbuf == 0:
        count_drop(stack, NO_MBUF)
        return 0
    Mbuf(mbuf).data_off = HEADROOM
    data = data_of(mbuf)
    write_mac(data + 6, Port(s.ports[port]).mac)
    store16(data + 12, 0xDD86)
    ip = Ipv6(data + ETHER_LEN)
    ip.flow = 0x60000000
    ip.next = following
    ip.hops = hops
    return mbuf


@compiled
def store_address6(l3, offset, high, low):
    """Write an address into a packet."""
    store64(l3 + offset, high)
    store64(l3 + offset + 8, low)
    return 0


@compiled
def send_icmp6(stack, port, mbuf, mac, offset, size):
    """Lengths, checksum and destination MAC of a frame whose ICMPv6 message of ``size`` bytes is
    ``offset`` bytes behind the IPv6 header's begin, its checksum field 0; transmit."""
    set_length(mbuf, ETHER_LEN + offset + size)
    data = data_of(mbuf)
    l3 = data + ETHER_LEN
    write_mac(data, mac)
    Ipv6(l3).payload = offset - IP6_LEN + size
    store16(l3 + offset + 2, checksum6(l3, l3 + offset, PROTO_ICMP6, size) ^ 0xFFFF)
    transmit(Stack(stack).ports[port], mbuf)
    return 0


@compiled
def _frame(stack, port, kind, flags, option):
    """A frame with everything but addresses, destination MAC and checksum; 0 without an mbuf.

    ``option``: the option that carries our MAC address, 0 for none.
    """
    mbuf = blank6(stack, port, PROTO_ICMP6, ND_HOPS)
    if mbuf == 0:
        return 0
    set_length(mbuf, ETHER_LEN + OPTION_AT + (8 if option != 0 else 0))
    l3 = data_of(mbuf) + ETHER_LEN
    store32(l3 + IP6_LEN, kind)
    Ipv6(l3 + IP6_LEN + 4).flow = flags
    if option != 0:
        store8(l3 + OPTION_AT, option)
        store8(l3 + OPTION_AT + 1, 1)
        write_mac(l3 + OPTION_AT + 2, Port(Stack(stack).ports[port]).mac)
    return mbuf


@compiled
def _finish(stack, port, mbuf, mac):
    """Checksum, destination MAC, transmit."""
    size = Mbuf(mbuf).pkt_len - ETHER_LEN - IP6_LEN
    return send_icmp6(stack, port, mbuf, mac, IP6_LEN, size)


@compiled
def solicit(stack, entry):
    """Ask for a neighbour: multicast while unresolved, to itself when probing (RFC 4861 7.2.2,
    7.3.3).  Without an address of ours to ask from nothing is sent."""
    n = Neighbour(entry)
    at = address6_at(Stack(stack).neighbours, entry)
    high = load64(at)
    low = load64(at + 8)
    source = source_high6(stack, n.port, high, low)
    if source == 0:
        return 0
    mbuf = _frame(stack, n.port, SOLICITATION, 0, SOURCE_MAC_OPTION)
    if mbuf == 0:
        return 0
    l3 = data_of(mbuf) + ETHER_LEN
    store_address6(l3, IP6_SRC, source, source_low6(stack, n.port, high, low))
    store_address6(l3, TARGET_AT, high, low)
    if n.state >= USABLE:
        store_address6(l3, IP6_DST, high, low)
        return _finish(stack, n.port, mbuf, load64(entry) & MAC_MASK)
    group = solicited_low(low)
    store_address6(l3, IP6_DST, MULTICAST_LINK_HIGH, group)
    return _finish(stack, n.port, mbuf, multicast_mac6(group))


@compiled
def probe(stack, port, high, low):
    """Ask whether anybody has the address already (RFC 4862 5.4.2): from ::, without option."""
    mbuf = _frame(stack, port, SOLICITATION, 0, 0)
    if mbuf == 0:
        return 0
    l3 = data_of(mbuf) + ETHER_LEN
    group = solicited_low(low)
    store_address6(l3, IP6_SRC, 0, 0)
    store_address6(l3, IP6_DST, MULTICAST_LINK_HIGH, group)
    store_address6(l3, TARGET_AT, high, low)
    return _finish(stack, port, mbuf, multicast_mac6(group))


@compiled
def advertise(stack, port, high, low, flags):
    """Tell all nodes of the link that the address is ours, unasked (RFC 4861 7.2.6)."""
    mbuf = _frame(stack, port, ADVERTISEMENT, flags, TARGET_MAC_OPTION)
    if mbuf == 0:
        return 0
    l3 = data_of(mbuf) + ETHER_LEN
    store_address6(l3, IP6_SRC, high, low)
    store_address6(l3, IP6_DST, MULTICAST_LINK_HIGH, ALL_NODES_LOW)
    store_address6(l3, TARGET_AT, high, low)
    return _finish(stack, port, mbuf, multicast_mac6(ALL_NODES_LOW))


@compiled
def answer(stack, port, asked, mac, flags):
    """Advertise to whoever sent the solicitation whose IPv6 header is at ``asked``."""
    mbuf = _frame(stack, port, ADVERTISEMENT, flags | SOLICITED, TARGET_MAC_OPTION)
    if mbuf == 0:
        return 0
    l3 = data_of(mbuf) + ETHER_LEN
    high = load64(asked + TARGET_AT)
    low = load64(asked + TARGET_AT + 8)
    store_address6(l3, IP6_SRC, high, low)
    store_address6(l3, IP6_DST, load64(asked + IP6_SRC), load64(asked + IP6_SRC + 8))
    store_address6(l3, TARGET_AT, high, low)
    return _finish(stack, port, mbuf, mac)
