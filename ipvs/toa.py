"""TOA: the client's address and port in a TCP option, for FullNAT real servers.

The option (kind 254; length, port, address; as long for IPv6 as an address is) stands directly
behind the fixed header, so that it is the first that the server reads.  Every segment carries it
that may be the last of the handshake, since that is where a server looks for it: all with ACK
that acknowledge none of the server's data, until the server has proved that it has its socket.
Until then options of this kind that clients send are blanked.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import TOA_ROOM
from ipvs.entry import PROVEN, S_TOA, SPECIAL, Entry
from ipvs.room import add_to_total, in_parts, l3_of, move_head, total_of
from ipvs.sequence import ahead
from ipvs.wide_entry import SIX
from runtime.intrinsics import copy, load8, load16, load32, store8, store16, store32
from runtime.jit import compiled, inlined
from stack.byteorder import swap16
from stack.checksum import difference, sum_bytes, update
from stack.headers import Tcp
from stack.neigh import count_drop
from stack.tcp_options import FIXED, MOST, TOA, blank_option, gather_options, header_bytes

SYN, RST, ACK = 2, 4, 16
SIZE4, SIZE6 = 8, 20


@inlined
def size_of(entry):
    """Bytes of the option: by the family of the connection's client."""
    return SIZE6 if Entry(entry).side[0].ports & SIX else SIZE4


@compiled
def write_client(at, l3, l4):
    """Port and address of the packet's sender behind an option's kind and length."""
    store16(at, load16(l4))
    if load8(l3) >> 4 == 4:
        store32(at + 2, load32(l3 + 12))
    else:
        copy(at + 2, l3 + 8, 16)
    return 0


@compiled
def resize_header(packet, l4, by):
    """The TCP header became ``by`` bytes longer: header length, IP total, both checksums.

    The bytes that came or went are not yet part of the sum.
    """
    l3 = l3_of(packet)
    word = load16(l4 + 12)
    length = total_of(l3) - (l4 - l3)
    t = Tcp(l4)
    t.offset = t.offset + by * 4
    add_to_total(l3, by)
    old = word + swap16(length)
    new = load16(l4 + 12) + swap16(length + by)
    store16(l4 + 16, update(load16(l4 + 16), difference(old, new)))
    return 0


@compiled
def squeeze(packet, l4, only_needed):
    """Take superfluous options out (see gather_options); address of the TCP header now."""
    kept = gather_options(l4, only_needed)
    freed = header_bytes(l4) - FIXED - kept
    if freed > 0:
        # What is cut off is zero: the sum stays.
        move_head(packet, l4 + FIXED + kept - Packet(packet).data, -freed)
        l4 += freed
        resize_header(packet, l4, -freed)
    return l4


@compiled
def _fits(packet, l4, size, mtu):
    if header_bytes(l4) + size > MOST:
        return 0
    return 1 if total_of(l3_of(packet)) + size <= mtu else 0


@compiled
def insert_toa(ipvs, packet, l4, size, mtu):
    """Put the option in if it fits (others make room); address of the TCP header now."""
    whole = in_parts(l3_of(packet), l4) == 0
    if whole and _fits(packet, l4, size, mtu) == 0:
        l4 = squeeze(packet, l4, 0)
        if _fits(packet, l4, size, mtu) == 0:
            l4 = squeeze(packet, l4, 1)
    at = 0
    if whole and _fits(packet, l4, size, mtu):
        at = move_head(packet, l4 + FIXED - Packet(packet).data, size)
    if at == 0:
        count_drop(Ipvs(ipvs).stack, TOA_ROOM)
        return l4
    l4 = at - FIXED
    store8(at, TOA)
    store8(at + 1, size)
    write_client(at + 2, l3_of(packet), l4)
    resize_header(packet, l4, size)
    store16(l4 + 16, update(load16(l4 + 16), difference(0, sum_bytes(at, size))))
    return l4


@compiled
def toa_to_server(ipvs, packet, entry, l4, mtu):
    """A client's segment of a connection with TOA; returns where its TCP header is now."""
    e = Entry(entry)
    blank_option(l4, TOA)
    flags = load8(l4 + 13)
    if flags & (SYN | RST) or flags & ACK == 0:
        return l4
    if e.marks & PROVEN and ahead(Tcp(l4).ack, e.fdata) > 0:
        e.special = e.special & ~S_TOA
        if e.special == 0:
            e.flags = e.flags & ~SPECIAL
        return l4
    return insert_toa(ipvs, packet, l4, size_of(entry), mtu)


@compiled
def toa_to_client(entry, l4, payload):
    """A server's segment: once it sends data or acknowledges some, its socket exists.

    Before, it sends nothing but SYN-ACK, RST, and empty segments that repeat the SYN-ACK's
    numbers, even in answer to segments it does not accept.
    """
    e = Entry(entry)
    t = Tcp(l4)
    flags = t.flags
    if flags & (SYN | RST) or flags & ACK == 0:
        return 0
    if payload > 0 or t.seq != e.fdata or t.ack != (e.first + e.isn_delta) & 0xFFFFFFFF:
        e.marks = e.marks | PROVEN
    return 0
