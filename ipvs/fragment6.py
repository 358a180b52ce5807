"""IPv6 fragments: what their headers say (RFC 8200 4.5).

An atomic fragment, which is its whole datagram, never comes here: it is handled like a packet
without fragment header (RFC 6946, stack/exthdr.py).
"""

from __future__ import annotations

from ipvs.classify6 import note_tuple6
from ipvs.context import Ipvs, Packet
from ipvs.datagram_table import datagram_of
from ipvs.drops import FRAG_FORM, FRAG_TINY, UDP6_CHECKSUM
from ipvs.echo import may_concern, note_first_echo
from ipvs.family import to_us
from ipvs.fragment import receive_part
from ipvs.fragment_first import check_first
from runtime.intrinsics import load16, load32, load64
from runtime.jit import compiled
from stack.drops6 import IP6_EXT_SHORT
from stack.exthdr import (
    SHORT_CHAIN,
    WRONG_FIELD,
    is_extension,
    note_problem,
    walk_from,
)
from stack.headers import (
    ETHER_LEN,
    FRAGMENT_LEN,
    IP6_DST,
    IP6_LEN,
    IP6_MF,
    IP6_OFFSET,
    IP6_SRC,
    PROTO_ICMP6,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
    Fragment,
    Ipv6,
)
from stack.icmp6 import tell_problem
from stack.ipv6 import receive_ipv6

LARGEST = 65535  # bytes behind the fixed header
LENGTH_AT = 4  # of the fixed header's payload length
PLACE_AT = 2  # of a fragment header's offset
VERSION6 = 6 << 40  # in a datagram's key


@compiled
def _tell(ipvs, packet, reason):
    """The sender is told what is wrong with a fragment to an address of ours; the reason."""
    k = Packet(packet)
    if to_us(ipvs, k.data + ETHER_LEN):
        tell_problem(Ipvs(ipvs).stack, k.mbuf, k.data)
    return reason


@compiled
def _malformed(ipvs, packet, reason, code, pointer):
    note_problem(Ipvs(ipvs).stack, code, pointer)
    return _tell(ipvs, packet, reason)


@compiled
def _has_ports(proto):
    return 1 if (proto == PROTO_TCP or proto == PROTO_UDP or proto == PROTO_SCTP) else 0


@compiled
def _is_followed(ipvs, l3, following):
    """1 for fragments that follow their first one: what may have ports, and echoes.

    ``following``: what the fragment header says comes next.
    """
    if following == PROTO_ICMP6:
        return may_concern(ipvs, l3)
    return _has_ports(following) | is_extension(following)


@compiled
def _check_first(ipvs, packet, upper, total):
    """A first fragment with protocol | offset << 8 ``upper``, as ``walk`` says; 0 or a reason.

    All headers must be in it (RFC 7112).
    """
    l3 = Packet(packet).data + ETHER_LEN
    if upper == -IP6_EXT_SHORT:
        return _malformed(ipvs, packet, FRAG_TINY, SHORT_CHAIN, 0)
    if upper < 0:
        return _tell(ipvs, packet, -upper)
    proto = upper & 0xFF
    if proto == PROTO_ICMP6 and upper >> 8 == total:
        return _malformed(ipvs, packet, FRAG_TINY, SHORT_CHAIN, 0)
    if _has_ports(proto) == 0:
        return 0
    l4 = l3 + (upper >> 8)
    reason = check_first(l4, total - (upper >> 8), proto)
    if reason == FRAG_TINY:
        return _malformed(ipvs, packet, FRAG_TINY, SHORT_CHAIN, 0)
    if reason == 0 and proto == PROTO_UDP and load16(l4 + 6) == 0:
        return UDP6_CHECKSUM
    return reason


@compiled
def _note_first(ipvs, packet, upper, total):
    """Note tuple and hash of a checked first fragment.

    Address of its ports, or echo; 0 when it has neither.
    """
    l3 = Packet(packet).data + ETHER_LEN
    proto = upper & 0xFF
    l4 = l3 + (upper >> 8)
    if proto == PROTO_ICMP6:
        return note_first_echo(ipvs, packet, l4, total - (upper >> 8))
    if _has_ports(proto) == 0:
        return 0
    note_tuple6(Ipvs(ipvs).index, packet, l3, l4, proto)
    return l4


@compiled
def receive_fragment6(ipvs, packet, handed, offset):
    """A fragment with its header ``offset`` bytes behind the fixed one's begin; 0 or a reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    total = IP6_LEN + Ipv6(l3).payload
    length = total - offset - FRAGMENT_LEN
    if length < 0:
        return FRAG_FORM
    f = Fragment(l3 + offset)
    if _is_followed(ipvs, l3, f.next) == 0:
        return receive_ipv6(w.stack, k.mbuf, k.data)
    if length == 0:
        return FRAG_FORM
    begin = f.place & IP6_OFFSET
    more = f.place & IP6_MF
    if more and length & 7:
        return _malformed(ipvs, packet, FRAG_FORM, WRONG_FIELD, LENGTH_AT)
    if offset - IP6_LEN + begin + length > LARGEST:
        return _malformed(ipvs, packet, FRAG_FORM, WRONG_FIELD, offset + PLACE_AT)
    l4 = 0  # of others than the first nobody asks
    if begin == 0:
        upper = walk_from(w.stack, l3, total, offset, offset + FRAGMENT_LEN)
        reason = _check_first(ipvs, packet, upper, total)
        if reason != 0:
            return reason
        l4 = _note_first(ipvs, packet, upper, total)
    key = load32(f.ptr + 4) | VERSION6
    datagram = datagram_of(
        ipvs, load64(l3 + IP6_SRC), load64(l3 + IP6_SRC + 8), load64(l3 + IP6_DST),
        load64(l3 + IP6_DST + 8), key,
    )  # fmt: skip
    return receive_part(ipvs, packet, handed, datagram, begin, begin + length, more, l4)
