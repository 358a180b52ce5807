"""Make a frame longer or shorter in its middle: the part in front moves, into the headroom."""

from __future__ import annotations

from ipvs.context import Packet
from netdev.abi import Mbuf
from netdev.mbuf import set_length
from runtime.intrinsics import copy, load8, load16, store16
from runtime.jit import compiled, inlined
from stack.checksum import difference, update
from stack.exthdr import fragment_header
from stack.headers import ETHER_LEN, IP6_LEN, IP_MF, Ipv4, Ipv6


@compiled
def move_head(packet, head, size):
    """Put ``size`` bytes more (less, if negative) behind the first ``head`` bytes of the frame.

    Returns the address behind the moved head, where the new bytes belong; 0 when the headroom
    does not hold them.  No length or checksum field is touched.
    """
    k = Packet(packet)
    m = Mbuf(k.mbuf)
    if size > m.data_off:
        return 0
    copy(k.data - size, k.data, head)
    m.data_off -= size
    set_length(k.mbuf, m.pkt_len + size)
    k.data -= size
    return k.data + head


@inlined
def is_six(l3):
    """1 when the packet at ``l3`` is an IPv6 one."""
    return 1 if load8(l3) >> 4 == 6 else 0


@compiled
def total_of(l3):
    """Bytes of the packet at ``l3``, headers included."""
    return Ipv6(l3).payload + IP6_LEN if is_six(l3) else Ipv4(l3).total


@compiled
def fixed_of(l3):
    """Bytes of its IP header without options or extension headers."""
    return IP6_LEN if is_six(l3) else 20


@compiled
def in_parts(l3, l4):
    """1 for the first fragment of a packet: nothing may be put into it, since the places of the
    other fragments are told already."""
    if is_six(l3):
        return 1 if (l4 != l3 + IP6_LEN and fragment_header(l3, l4) != 0) else 0
    return 1 if Ipv4(l3).frag & IP_MF else 0


@compiled
def add_to_total(l3, size):
    """The packet became ``size`` bytes longer: length and, of IPv4, header checksum."""
    if is_six(l3):
        six = Ipv6(l3)
        six.payload = six.payload + size
        return 0
    old = load16(l3 + 2)
    ip = Ipv4(l3)
    ip.total = ip.total + size
    store16(l3 + 10, update(load16(l3 + 10), difference(old, load16(l3 + 2))))
    return 0


@inlined
def l3_of(packet):
    """Address of the IP header; it moves with the head."""
    return Packet(packet).data + ETHER_LEN
