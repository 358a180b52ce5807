"""First stage of a burst: recognise the common shape of packet and hash its tuple.

The common shape is an IPv4 TCP or UDP packet without options or fragmentation, addressed to the
port's MAC, all lengths and the header checksum right (of IPv6: ipvs/classify6.py).  Everything else
is left to the thorough path (``kind`` SLOW), which repeats the checks one by one and names what is
wrong.
"""

from __future__ import annotations

from ipvs.classify6 import SHAPE6, SHAPE6_MASK, classify6
from ipvs.context import MBUFS_AT, PACKET_SIZE, PACKETS_AT, Ipvs, Packet
from ipvs.entry import tuple_hash
from ipvs.index import SEED_AT, home, tag_of
from netdev.abi import Mbuf
from netdev.mbuf import set_length
from netdev.port import Port
from runtime.intrinsics import load16, load32, load64, prefetch
from runtime.jit import inlined
from stack.checksum import ipv4_header_sum
from stack.context import Stack
from stack.headers import ETHER_LEN, PROTO_TCP, PROTO_UDP, Ipv4, Tcp, Udp

COMMON = 0
SLOW = 1

MAC_MASK = 0xFFFFFFFFFFFF
SHAPE_MASK = 0xFFFFFF  # EtherType and version/header length, as loaded at offset 12
SHAPE_IPV4 = 0x450008
FRAGMENT_MASK = 0xFF3F  # more-fragments bit and offset, as loaded
PROTO_SHIFT = 32


@inlined
def _lengths_right(l3, available, proto):
    """1 when total length, L4 header and L4 length agree with ``available`` bytes from ``l3``."""
    ip = Ipv4(l3)
    total = ip.total
    if total > available:
        return 0
    if proto == PROTO_TCP:
        offset = (Tcp(l3 + 20).offset >> 4) * 4
        return 1 if (offset >= 20 and 20 + offset <= total) else 0
    if proto == PROTO_UDP:
        length = Udp(l3 + 20).length
        return 1 if (length >= 8 and 20 + length <= total) else 0
    return 0


@inlined
def note_tuple(index, packet, l3, l4):
    """Fill in what a lookup needs of an IPv4 packet with ports at ``l4``: tuple, hash."""
    k = Packet(packet)
    k.addresses = load64(l3 + 12)
    k.ports = load32(l4) | (Ipv4(l3).proto << PROTO_SHIFT)
    hashed = tuple_hash(index + SEED_AT, k.addresses, k.ports)
    k.tag = tag_of(hashed)
    k.bucket = home(index, hashed)
    return 0


@inlined
def classify_one(stack, index, mbuf, packet):
    """Fill ``packet`` for one mbuf; 1 and kind COMMON only when every check passed.

    Link padding of a common packet is cut off.
    """
    m = Mbuf(mbuf)
    k = Packet(packet)
    data = m.buf_addr + m.data_off
    k.mbuf = mbuf
    k.data = data
    k.reference = 0
    k.kind = SLOW
    size = m.pkt_len
    if size < ETHER_LEN + 28 or m.nb_segs != 1:
        return 0
    if load64(data) & MAC_MASK != Port(Stack(stack).ports[m.port]).mac:
        return 0
    shape = load32(data + 12) & SHAPE_MASK
    if shape != SHAPE_IPV4:
        return classify6(stack, index, mbuf, packet) if shape & SHAPE6_MASK == SHAPE6 else 0
    l3 = data + ETHER_LEN
    if load16(l3 + 6) & FRAGMENT_MASK:
        return 0
    proto = Ipv4(l3).proto
    if _lengths_right(l3, size - ETHER_LEN, proto) == 0:
        return 0
    if ipv4_header_sum(l3) != 0xFFFF:
        return 0
    length = ETHER_LEN + Ipv4(l3).total
    if length < size:
        set_length(mbuf, length)
    k.addresses = load64(l3 + 12)
    k.ports = load32(l3 + 20) | (proto << PROTO_SHIFT)
    k.kind = COMMON
    return 1


@inlined
def classify(ipvs, count):
    """Classify ``count`` received mbufs and prefetch the index lines of the common ones."""
    w = Ipvs(ipvs)
    stack = w.stack
    index = w.index
    for i in range(count):
        mbuf = load64(ipvs + MBUFS_AT + i * 8)
        packet = ipvs + PACKETS_AT + i * PACKET_SIZE
        if classify_one(stack, index, mbuf, packet):
            k = Packet(packet)
            hashed = tuple_hash(index + SEED_AT, k.addresses, k.ports)
            k.tag = tag_of(hashed)
            k.bucket = home(index, hashed)
            prefetch(k.bucket)
    return 0
