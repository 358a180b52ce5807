"""Make a frame longer or shorter in its middle: the part in front moves, into the headroom."""

from __future__ import annotations

from ipvs.context import Packet
from netdev.abi import Mbuf
from netdev.mbuf import set_length
from runtime.intrinsics import copy, load16, store16
from runtime.jit import compiled, inlined
from stack.checksum import difference, update
from stack.headers import ETHER_LEN, Ipv4


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


@compiled
def add_to_total(l3, size):
    """The IPv4 packet became ``size`` bytes longer: total length and header checksum."""
    old = load16(l3 + 2)
    ip = Ipv4(l3)
    ip.total = ip.total + size
    store16(l3 + 10, update(load16(l3 + 10), difference(old, load16(l3 + 2))))
    return 0


@inlined
def l3_of(packet):
    """Address of the IP header; it moves with the head."""
    return Packet(packet).data + ETHER_LEN
