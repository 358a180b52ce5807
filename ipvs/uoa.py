"""UOA: the client's address and port with the first UDP packets of a FullNAT connection.

Two carriers.  The header of IP protocol 248 between IP and UDP: version of the address << 4, the
protocol it displaces, its length (2 bytes), then the option.  Or the option alone, as the first of
the IPv4 options, which has no place for an IPv6 client.  The option (kind 31; length, port,
address) is TOA's with another kind.
"""

from __future__ import annotations

from ipvs.context import SCRATCH_AT, Ipvs, Packet
from ipvs.drops import UOA_ROOM
from ipvs.entry import S_UOA, SPECIAL, Entry
from ipvs.front import packet_ahead
from ipvs.onward import send_on
from ipvs.room import add_to_total, fixed_of, in_parts, is_six, l3_of, move_head, total_of
from ipvs.toa import size_of, write_client
from netdev.mbuf import data_of
from runtime.intrinsics import load8, load16, store8, store16
from runtime.jit import compiled
from stack.byteorder import swap16
from stack.checksum import difference, sum_bytes, update
from stack.headers import ETHER_LEN, IP6_LEN, PROTO_OPTIONS, PROTO_UDP, Ipv4, Ipv6
from stack.neigh import count_drop, drop

KIND = 31
SIZE = 8  # of the option for an IPv4 client
HEADER = 4  # bytes of the header in front of the option
MOST_IP = 60  # bytes of an IPv4 header


@compiled
def _option(at, l3, l4, size):
    store8(at, KIND)
    store8(at + 1, size)
    return write_client(at + 2, l3, l4)


@compiled
def _name_header(l3, l4):
    """The IP header says that the header of protocol 248 follows.

    IPv4 only: the UDP checksum goes.  The receiver takes the header out before it would look at
    it; of IPv6 it must be right then.
    """
    if is_six(l3):
        Ipv6(l3).next = PROTO_OPTIONS
        return 0
    store16(l4 + 6, 0)
    old = load16(l3 + 8)
    Ipv4(l3).proto = PROTO_OPTIONS
    store16(l3 + 10, update(load16(l3 + 10), difference(old, load16(l3 + 8))))
    return 0


@compiled
def add_header(packet, l4, size):
    """Put the header of protocol 248 with an option of ``size`` bytes between IP and UDP.

    1, or 0 without headroom, or when the IP header does not stand directly before it.
    """
    l3 = l3_of(packet)
    if is_six(l3) and l4 != l3 + IP6_LEN:
        return 0
    length = HEADER + size
    at = move_head(packet, l4 - Packet(packet).data, length)
    if at == 0:
        return 0
    l3 = l3_of(packet)
    store8(at, 0x20 if is_six(l3) else 0x10)
    store8(at + 1, PROTO_UDP)
    store16(at + 2, swap16(length))
    _option(at + HEADER, l3, l4, size)
    _name_header(l3, l4)
    add_to_total(l3, length)
    return 1


@compiled
def add_ip_option(packet, l4):
    """Put the option in front of the IP options; 1, or 0 when it does not fit there."""
    if (load8(l3_of(packet)) & 15) * 4 + SIZE > MOST_IP:
        return 0
    at = move_head(packet, ETHER_LEN + 20, SIZE)
    if at == 0:
        return 0
    l3 = l3_of(packet)
    _option(at, l3, l4, SIZE)
    old = load16(l3)
    ip = Ipv4(l3)
    ip.ver_ihl = ip.ver_ihl + SIZE // 4
    new = load16(l3) + sum_bytes(at, SIZE)
    store16(l3 + 10, update(load16(l3 + 10), difference(old, new)))
    add_to_total(l3, SIZE)
    return 1


@compiled
def _add(ipvs, packet, entry, l4, mtu):
    in_ip = Ipvs(ipvs).uoa_in_ip
    size = size_of(entry)
    if total_of(l3_of(packet)) + size + (0 if in_ip else HEADER) > mtu:
        return 0
    return add_ip_option(packet, l4) if in_ip else add_header(packet, l4, size)


@compiled
def _add_ahead(ipvs, packet, entry, hop, l4, mtu):
    """Send a UDP packet without payload that names the client; 1 when it is gone."""
    k = Packet(packet)
    mbuf = packet_ahead(ipvs, packet, l4, ipvs + SCRATCH_AT, 0, PROTO_UDP)
    if mbuf == 0:
        return 0
    ours = k.mbuf
    data = k.data
    k.mbuf = mbuf
    k.data = data_of(mbuf)
    at = l3_of(packet) + fixed_of(l3_of(packet))
    reason = UOA_ROOM
    if _add(ipvs, packet, entry, at, mtu):
        reason = send_on(ipvs, packet, entry, 0, hop, at, PROTO_UDP)
    k.mbuf = ours
    k.data = data
    if reason != 0:
        drop(Ipvs(ipvs).stack, mbuf, reason)
        return 0
    return 1


@compiled
def uoa_to_server(ipvs, packet, entry, hop, l4, mtu):
    """A client's packet while the server is being told: in the packet, else in one ahead of it."""
    w = Ipvs(ipvs)
    e = Entry(entry)
    if in_parts(l3_of(packet), l4):
        count_drop(w.stack, UOA_ROOM)
        return l4
    e.uoa_sent += 1
    if e.uoa_sent >= w.uoa_packets:
        e.special = e.special & ~S_UOA
        if e.special == 0:
            e.flags = e.flags & ~SPECIAL
    if _add(ipvs, packet, entry, l4, mtu) == 0:
        if _add_ahead(ipvs, packet, entry, hop, l4, mtu) == 0:
            count_drop(w.stack, UOA_ROOM)
    return l4
