"""The common shape of IPv6: TCP or UDP directly behind the fixed header, all lengths right.

Anything else (extension headers, fragments, UDP without checksum) is left to the thorough path.
"""

from __future__ import annotations

from ipvs.context import Packet
from ipvs.entry import tuple_hash
from ipvs.index import SEED_AT, home, tag_of
from ipvs.wide_entry import SIX, digest
from netdev.abi import Mbuf
from netdev.mbuf import set_length
from runtime.intrinsics import load8, load16, load32, prefetch
from runtime.jit import compiled, inlined
from stack.context import Stack
from stack.headers import ETHER_LEN, PROTO_TCP, PROTO_UDP, Tcp, Udp

COMMON6 = 2  # kind of packet, see ipvs/classify.py
SHAPE6_MASK = 0xF0FFFF  # EtherType and version, as loaded at offset 12
SHAPE6 = 0x60DD86
HEADER6 = 40


@inlined
def _lengths_right(l4, payload, proto):
    """1 when L4 header and length agree with ``payload`` bytes."""
    if proto == PROTO_TCP:
        offset = (Tcp(l4).offset >> 4) * 4
        return 1 if (offset >= 20 and offset <= payload) else 0
    if proto == PROTO_UDP:
        length = Udp(l4).length
        # RFC 8200 8.1: a checksum is mandatory.
        return 1 if (length >= 8 and length <= payload and load16(l4 + 6) != 0) else 0
    return 0


@inlined
def note_tuple6(index, packet, l3, l4, proto):
    """Fill in what a lookup needs: digest, ports, hash."""
    k = Packet(packet)
    k.addresses = digest(index + SEED_AT, l3 + 8)
    k.ports = load32(l4) | (proto << 32) | SIX
    hashed = tuple_hash(index + SEED_AT, k.addresses, k.ports)
    k.tag = tag_of(hashed)
    k.bucket = home(index, hashed)
    return 0


@compiled
def classify6(stack, index, mbuf, packet):
    """Fill ``packet`` for an IPv6 frame to our MAC; its kind is COMMON6 if every check passed."""
    m = Mbuf(mbuf)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    size = m.pkt_len
    if size < ETHER_LEN + HEADER6 + 8 or Stack(stack).disabled6:
        return 0
    raw = load16(l3 + 4)
    payload = ((raw & 0xFF) << 8) | (raw >> 8)
    length = ETHER_LEN + HEADER6 + payload
    if length > size or payload < 8:
        return 0
    proto = load8(l3 + 6)
    l4 = l3 + HEADER6
    if _lengths_right(l4, payload, proto) == 0:
        return 0
    if length < size:
        set_length(mbuf, length)
    note_tuple6(index, packet, l3, l4, proto)
    prefetch(k.bucket)
    k.kind = COMMON6
    return 0
