"""Fragmentation of IPv4 packets on their way out (RFC 791 section 3.2)."""

from __future__ import annotations

from netdev.abi import HEADROOM, Mbuf
from netdev.mbuf import allocate, data_of, set_length
from runtime.intrinsics import copy, load8, store8, store16
from runtime.jit import compiled
from stack.checksum import checksum
from stack.context import HEADER_AT, Stack
from stack.drops import IP_TOO_BIG, SPLIT_MBUF
from stack.headers import ETHER_LEN, IP_DF, IP_MF, IP_OFFSET, Ipv4
from stack.neigh import drop
from stack.upkeep import output as neighbour_output

COPIED = 0x80  # flag of options that every fragment carries


@compiled
def later_header(l3, out):
    """Write the header of later fragments at ``out``: the one at ``l3`` without options that
    belong into the first alone.  Returns its size."""
    size = (Ipv4(l3).ver_ihl & 15) * 4
    copy(out, l3, 20)
    at = 20
    to = 20
    while at < size:
        kind = load8(l3 + at)
        if kind == 0:
            break
        length = 1 if kind == 1 else load8(l3 + at + 1)
        if length == 0 or at + length > size:
            break
        if kind & COPIED:
            copy(out + to, l3 + at, length)
            to += length
        at += length
    while to & 3:
        store8(out + to, 0)
        to += 1
    Ipv4(out).ver_ihl = 0x40 | (to >> 2)
    return to


@compiled
def _finish(l3, total, frag):
    """Fields of a fragment's header that differ from the original's, and its checksum."""
    ip = Ipv4(l3)
    ip.total = total
    ip.frag = frag
    ip.check = 0
    store16(l3 + 10, checksum(l3, (ip.ver_ihl & 15) * 4))
    return 0


@compiled
def _send(stack, hop, mbuf):
    reason = neighbour_output(stack, hop, mbuf)
    if reason != 0:
        drop(stack, mbuf, reason)
    return 0


@compiled
def _send_copy(stack, hop, head, size, content, length, frag):
    """Send ``length`` bytes of content under a copy of a header in a new mbuf; 1, 0 if none."""
    mbuf = allocate(Stack(stack).calls)
    if mbuf == 0:
        return 0
    Mbuf(mbuf).data_off = HEADROOM
    set_length(mbuf, ETHER_LEN + size + length)
    out = data_of(mbuf) + ETHER_LEN
    copy(out, head, size)
    copy(out + size, content, length)
    _finish(out, size + length, frag)
    _send(stack, hop, mbuf)
    return 1


@compiled
def send_split(stack, hop, mbuf, data, mtu):
    """Send a packet to neighbour ``hop`` in fragments of at most ``mtu`` bytes; 0 or a reason.

    The original mbuf carries the last one.  The packet may be a fragment itself.
    """
    l3 = data + ETHER_LEN
    ip = Ipv4(l3)
    frag = ip.frag
    if frag & IP_DF:
        return IP_TOO_BIG
    size = (ip.ver_ihl & 15) * 4
    rest = ip.total - size
    room = (mtu - size) & ~7
    if room < 8:
        return IP_TOO_BIG
    head = stack + HEADER_AT
    later = later_header(l3, head)
    content = l3 + size
    if _send_copy(stack, hop, l3, size, content, room, frag | IP_MF) == 0:
        return SPLIT_MBUF
    place = (frag & IP_OFFSET) + (room >> 3)
    content += room
    rest -= room
    room = (mtu - later) & ~7
    while rest > mtu - later:
        if _send_copy(stack, hop, head, later, content, room, place | IP_MF) == 0:
            return SPLIT_MBUF
        place += room >> 3
        content += room
        rest -= room
    m = Mbuf(mbuf)
    m.data_off += content - later - l3
    set_length(mbuf, ETHER_LEN + later + rest)
    copy(content - later, head, later)
    _finish(content - later, later + rest, place | (frag & IP_MF))
    _send(stack, hop, mbuf)
    return 0
