"""A TCP segment of our own to one end of a connection, as if the other end had sent it."""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.entry import Entry, swap_halves
from ipvs.header64 import IP4_LEN, write_header4, write_header6
from ipvs.hop import next_hop, send
from ipvs.wide_entry import SIX, WIDE_AT, Wide
from netdev.mbuf import allocate, data_of, set_length
from runtime.intrinsics import store16, store32, store64
from runtime.jit import compiled
from stack.checksum import checksum6, fold, pseudo_sum, sum_bytes
from stack.context import Stack
from stack.drops import NO_MBUF
from stack.headers import ETHER_LEN, IP6_DST, IP6_LEN, IP6_SRC, IP_DF, PROTO_TCP, Tcp
from stack.icmp import TTL
from stack.neigh import count_drop, drop
from stack.tcp_options import FIXED


@compiled
def _write_tcp(l4, ports, seq, ack, flags):
    """A header without options, data or checksum; ``ports``: how the end's own segments arrive."""
    store32(l4, ((ports & 0xFFFF) << 16) | ((ports >> 16) & 0xFFFF))
    t = Tcp(l4)
    t.seq = seq
    t.ack = ack
    t.offset = FIXED // 4 << 4
    t.flags = flags
    t.window = 0
    t.check = 0
    t.urgent = 0
    return 0


@compiled
def _finish4(entry, side, l3):
    """IPv4 header and checksums."""
    addresses = swap_halves(Entry(entry).side[side].addresses)
    write_header4(l3, 0, TTL, PROTO_TCP, FIXED, addresses, 0, IP_DF)
    l4 = l3 + IP4_LEN
    store16(l4 + 16, fold(pseudo_sum(addresses, PROTO_TCP, FIXED) + sum_bytes(l4, FIXED)) ^ 0xFFFF)
    return 0


@compiled
def _finish6(entry, side, l3):
    """IPv6 header and checksum."""
    write_header6(l3, 0, TTL, PROTO_TCP, FIXED)
    arrives = Wide(entry + WIDE_AT).side[side]
    store64(l3 + IP6_SRC, arrives.dst_high)
    store64(l3 + IP6_SRC + 8, arrives.dst_low)
    store64(l3 + IP6_DST, arrives.src_high)
    store64(l3 + IP6_DST + 8, arrives.src_low)
    l4 = l3 + IP6_LEN
    store16(l4 + 16, checksum6(l3, l4, PROTO_TCP, FIXED) ^ 0xFFFF)
    return 0


@compiled
def send_segment(ipvs, entry, side, seq, ack, flags):
    """Send a segment without options or data to the end on ``side``; all numbers as that end
    counts.  1 when it is on its way, 0 when there is no way or no mbuf.

    It is no traffic of the connection: neither statistics nor idle time take note of it.
    """
    w = Ipvs(ipvs)
    hop = next_hop(ipvs, entry, side ^ 1)
    if hop < 0:
        return 0
    mbuf = allocate(Stack(w.stack).calls)
    if mbuf == 0:
        count_drop(w.stack, NO_MBUF)
        return 0
    ports = Entry(entry).side[side].ports
    size = IP6_LEN if ports & SIX else IP4_LEN
    set_length(mbuf, ETHER_LEN + size + FIXED)
    l3 = data_of(mbuf) + ETHER_LEN
    _write_tcp(l3 + size, ports, seq, ack, flags)
    if ports & SIX:
        _finish6(entry, side, l3)
    else:
        _finish4(entry, side, l3)
    reason = send(ipvs, hop, mbuf, data_of(mbuf))
    if reason != 0:
        drop(w.stack, mbuf, reason)
        return 0
    return 1
