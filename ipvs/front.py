"""The front of a packet's payload: replace it, or send something ahead in a packet of its own.

L4 checksums are kept by difference, so that a packet that was damaged before stays damaged.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.room import add_to_total, fixed_of, is_six, l3_of, move_head, total_of
from netdev.abi import HEADROOM, Mbuf
from netdev.mbuf import allocate, data_of, set_length
from runtime.intrinsics import copy, load8, load16, store16
from runtime.jit import compiled
from stack.byteorder import swap16
from stack.checksum import difference, ipv4_header_sum, sum_bytes, update
from stack.context import Stack
from stack.headers import ETHER_LEN, PROTO_TCP, Ipv4, Ipv6, Tcp, Udp

PSH, ACK, URG = 8, 16, 32


@compiled
def header_of(l4, proto):
    """Bytes of a TCP or UDP header."""
    return (load8(l4 + 12) >> 4) * 4 if proto == PROTO_TCP else 8


@compiled
def payload_of(l3, l4, proto):
    """Bytes of payload behind a TCP or UDP header."""
    if proto == PROTO_TCP:
        return total_of(l3) - (l4 - l3) - header_of(l4, proto)
    return Udp(l4).length - 8


@compiled
def _fix_checksum(l4, proto, old, new):
    at = l4 + (16 if proto == PROTO_TCP else 6)
    check = load16(at)
    if proto != PROTO_TCP and check == 0:
        return 0
    check = update(check, difference(old, new))
    if proto != PROTO_TCP and check == 0:
        check = 0xFFFF
    store16(at, check)
    return 0


@compiled
def _covered(l4, proto, payload):
    """Sum of what the L4 checksum covers besides the payload and that changes with it.

    The length is in the pseudo header, and in UDP once more.
    """
    if proto == PROTO_TCP:
        return load16(l4 + 12) + load16(l4 + 18) + swap16(header_of(l4, proto) + payload)
    return 2 * load16(l4 + 4)


@compiled
def _move_urgent(l4, by):
    """Urgent data is now ``by`` bytes further behind the segment's begin (RFC 9293 3.8.5)."""
    t = Tcp(l4)
    if t.flags & URG:
        t.urgent = min(max(t.urgent + by, 0), 0xFFFF)
    return 0


@compiled
def replace_front(packet, l4, header, ours, theirs, proto):
    """Take ``theirs`` bytes off the payload's front, put ``ours`` bytes of ``header`` there.

    Returns the address of the L4 header now, 0 when the headroom does not hold the difference.
    """
    l3 = l3_of(packet)
    size = payload_of(l3, l4, proto)
    at = l4 + header_of(l4, proto)
    grow = ours - theirs
    old = sum_bytes(at, size) + _covered(l4, proto, size)
    front = move_head(packet, at - Packet(packet).data, grow)
    if front == 0:
        return 0
    copy(front, header, ours)
    l4 -= grow
    add_to_total(l3 - grow, grow)
    if proto == PROTO_TCP:
        _move_urgent(l4, grow)
    else:
        u = Udp(l4)
        u.length = u.length + grow
    new = sum_bytes(front, size + grow) + _covered(l4, proto, size + grow)
    _fix_checksum(l4, proto, old, new)
    return l4


@compiled
def packet_ahead(ipvs, packet, l4, header, ours, proto):
    """An mbuf with the packet's headers (no IP options or extension headers) and ``ours`` bytes of
    ``header``.

    A TCP segment keeps its numbers and options; its flags are ACK and PSH.  0 without mbuf.
    """
    k = Packet(packet)
    mbuf = allocate(Stack(Ipvs(ipvs).stack).calls)
    if mbuf == 0:
        return 0
    size = header_of(l4, proto)
    payload = payload_of(l3_of(packet), l4, proto)
    m = Mbuf(mbuf)
    m.data_off = HEADROOM
    m.port = Mbuf(k.mbuf).port
    fixed = fixed_of(l3_of(packet))
    set_length(mbuf, ETHER_LEN + fixed + size + ours)
    data = data_of(mbuf)
    l3 = data + ETHER_LEN
    to = l3 + fixed
    copy(data, k.data, ETHER_LEN + fixed)
    copy(to, l4, size)
    copy(to + size, header, ours)
    if is_six(l3):
        six = Ipv6(l3)
        six.payload = size + ours
        six.next = proto
    else:
        ip = Ipv4(l3)
        ip.ver_ihl = 0x45
        ip.total = fixed + size + ours
        ip.check = 0
        store16(l3 + 10, ipv4_header_sum(l3) ^ 0xFFFF)
    old = sum_bytes(l4 + size, payload) + _covered(l4, proto, payload)
    if proto == PROTO_TCP:
        Tcp(to).flags = PSH | ACK
    else:
        Udp(to).length = 8 + ours
    new = sum_bytes(to + size, ours) + _covered(to, proto, ours)
    _fix_checksum(to, proto, old, new)
    return mbuf
