"""IPv4 fragments: what their headers say (RFC 791)."""

from __future__ import annotations

from ipvs.classify import note_tuple
from ipvs.context import Ipvs, Packet
from ipvs.datagram_table import datagram_of
from ipvs.drops import FRAG_FORM
from ipvs.echo import may_concern, note_first_echo
from ipvs.fragment import receive_part
from ipvs.fragment_first import check_first
from runtime.intrinsics import load16, load64
from runtime.jit import compiled
from stack.headers import (
    ETHER_LEN,
    IP_MF,
    IP_OFFSET,
    PROTO_ICMP,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
    Ipv4,
)
from stack.ipv4 import receive_ipv4

LARGEST = 65535  # bytes of an IPv4 packet
VERSION4 = 4 << 40  # in a datagram's key


@compiled
def _is_followed(ipvs, l3, proto):
    """1 for fragments that follow their first one; those of others have their own way each."""
    if proto == PROTO_TCP or proto == PROTO_UDP or proto == PROTO_SCTP:
        return 1
    return may_concern(ipvs, l3) if proto == PROTO_ICMP else 0


@compiled
def receive_fragment(ipvs, packet, handed):
    """A fragment whose IP header was checked; 0 or a drop reason."""
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    if _is_followed(ipvs, l3, ip.proto) == 0:
        return receive_ipv4(Ipvs(ipvs).stack, k.mbuf, k.data)
    size = (ip.ver_ihl & 15) * 4
    l4 = l3 + size
    begin = (ip.frag & IP_OFFSET) * 8
    more = ip.frag & IP_MF
    length = ip.total - size
    if length == 0 or (more and length & 7) or size + begin + length > LARGEST:
        return FRAG_FORM
    if begin == 0:
        if ip.proto == PROTO_ICMP:
            l4 = note_first_echo(ipvs, packet, l4, length)
        else:
            reason = check_first(l4, length, ip.proto)
            if reason != 0:
                return reason
            note_tuple(Ipvs(ipvs).index, packet, l3, l4)
    key = load16(l3 + 4) | (ip.proto << 32) | VERSION4
    datagram = datagram_of(ipvs, load64(l3 + 12), 0, 0, 0, key)
    return receive_part(ipvs, packet, handed, datagram, begin, begin + length, more, l4)
