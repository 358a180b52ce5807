"""IPv4 fragments: what their headers say (RFC 791)."""

from __future__ import annotations

from ipvs.classify import note_tuple
from ipvs.context import Ipvs, Packet
from ipvs.datagrams import datagram_of
from ipvs.drops import FRAG_FORM
from ipvs.fragment import receive_part
from ipvs.fragment_first import check_first
from runtime.intrinsics import load16, load64
from runtime.jit import compiled
from stack.headers import ETHER_LEN, IP_MF, IP_OFFSET, Ipv4

LARGEST = 65535  # bytes of an IPv4 packet
VERSION4 = 4 << 40  # in a datagram's key


@compiled
def receive_fragment(ipvs, packet, handed):
    """A TCP, UDP or SCTP fragment whose IP header was checked; 0 or a drop reason."""
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    size = (ip.ver_ihl & 15) * 4
    l4 = l3 + size
    begin = (ip.frag & IP_OFFSET) * 8
    more = ip.frag & IP_MF
    length = ip.total - size
    if length == 0 or (more and length & 7) or size + begin + length > LARGEST:
        return FRAG_FORM
    if begin == 0:
        reason = check_first(l4, length, ip.proto)
        if reason != 0:
            return reason
        note_tuple(Ipvs(ipvs).index, packet, l3, l4)
    key = load16(l3 + 4) | (ip.proto << 32) | VERSION4
    datagram = datagram_of(ipvs, load64(l3 + 12), 0, 0, 0, key)
    return receive_part(ipvs, packet, handed, datagram, begin, begin + length, more, l4)
