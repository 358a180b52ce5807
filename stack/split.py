"""Fragmentation of packets on their way out (RFC 791 section 3.2).

Of IPv6 ones only where their sender is an IPv4 host that allows it (RFC 7915 section 4): those
have a fragment header already, directly behind the fixed one.  The word that tells a fragment's
place is IPv4's for both families: DF, MF, and the offset in units of 8 bytes.
"""

from __future__ import annotations

from netdev.abi import HEADROOM, Mbuf
from netdev.mbuf import allocate, data_of, set_length
from runtime.intrinsics import copy, load8, store8, store16
from runtime.jit import compiled
from stack.checksum import checksum
from stack.context import HEADER_AT, Stack
from stack.drops import IP_TOO_BIG, SPLIT_MBUF
from stack.headers import (
    ETHER_LEN,
    FRAGMENT_LEN,
    IP6_LEN,
    IP6_MF,
    IP_DF,
    IP_MF,
    IP_OFFSET,
    Fragment,
    Ipv4,
    Ipv6,
)
from stack.neigh import drop
from stack.upkeep import output as neighbour_output

COPIED = 0x80  # flag of options that every fragment carries


@compiled
def place4(place):
    """IPv4's word for the ``place`` of an IPv6 fragment."""
    return (place >> 3) | (IP_MF if place & IP6_MF else 0)


@compiled
def place6(word):
    """The ``place`` of an IPv6 fragment for IPv4's word."""
    return ((word & IP_OFFSET) << 3) | (IP6_MF if word & IP_MF else 0)


@compiled
def _front(l3):
    """Bytes in front of what is divided."""
    if load8(l3) >> 4 == 6:
        return IP6_LEN + FRAGMENT_LEN
    return (Ipv4(l3).ver_ihl & 15) * 4


@compiled
def later_header(l3, out):
    """Write the header of later fragments at ``out``: the one at ``l3`` without options that
    belong into the first alone.  Returns its size."""
    size = _front(l3)
    copy(out, l3, size)
    if load8(l3) >> 4 == 6:
        return size
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
    if load8(l3) >> 4 == 6:
        Ipv6(l3).payload = total - IP6_LEN
        Fragment(l3 + IP6_LEN).place = place6(frag)
        return 0
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
    size = _front(l3)
    if load8(l3) >> 4 == 6:
        frag = place4(Fragment(l3 + IP6_LEN).place)
        rest = Ipv6(l3).payload - FRAGMENT_LEN
    else:
        frag = Ipv4(l3).frag
        rest = Ipv4(l3).total - size
    if frag & IP_DF:
        return IP_TOO_BIG
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
