"""ICMPv6 (RFC 4443): echo replies in place, error messages with their rules and rate limit."""

from __future__ import annotations

from netdev.abi import HEADROOM, Mbuf
from netdev.mbuf import allocate, data_of, free_one, set_length
from netdev.port import Port, transmit
from runtime.intrinsics import copy, load8, load64, store16, store64
from runtime.jit import compiled
from stack.address6 import is_multicast6, is_unspecified6
from stack.checksum import checksum6
from stack.context import Stack
from stack.drops import ICMP_RATE, NO_MBUF
from stack.drops6 import IP6_NO_SOURCE
from stack.exthdr import CODE_SHIFT, FRAGMENT, NO_PROBLEM, UNKNOWN_OPTION, upper_of
from stack.headers import (
    ETHER_LEN,
    IP6_DST,
    IP6_LEN,
    IP6_MIN_MTU,
    IP6_SRC,
    PROTO_ICMP6,
    Icmp,
    Ipv6,
)
from stack.icmp import rate_allows
from stack.local6 import local6, source_high6, source_low6
from stack.nd_send import MAC_MASK, write_mac
from stack.neigh import count_drop

UNREACHABLE6 = 1
NO_ROUTE, PROHIBITED, BEYOND_SCOPE, ADDRESS_UNREACHABLE, PORT_UNREACHABLE6 = range(5)
TOO_BIG6 = 2
TIME_EXCEEDED6 = 3
PARAMETER_PROBLEM = 4
ECHO6 = 128
ECHO_REPLY6 = 129
REDIRECT = 137
FIRST_INFORMATIONAL = 128  # types below are errors (RFC 4443 2.1)
HOPS = 64


@compiled
def store_source(stack, l3, port, at, high, low):
    """Write our address for talking to an address to ``at``; 0 or a drop reason."""
    source = source_high6(stack, port, high, low)
    if source == 0:
        return IP6_NO_SOURCE
    source_low = source_low6(stack, port, high, low)
    store64(l3 + at, source)
    store64(l3 + at + 8, source_low)
    return 0


@compiled
def finish_icmp6(l3):
    """Fixed header fields and the checksum of an ICMPv6 packet of ours, addresses being set."""
    ip = Ipv6(l3)
    ip.flow = 0x60000000
    ip.next = PROTO_ICMP6
    ip.hops = HOPS
    Icmp(l3 + IP6_LEN).check = 0
    store16(l3 + IP6_LEN + 2, checksum6(l3, l3 + IP6_LEN, PROTO_ICMP6, ip.payload) ^ 0xFFFF)
    return 0


@compiled
def echo6(stack, mbuf, data, offset):
    """Turn a checked echo request into the reply, in place; 0 (send it) or a drop reason.

    Extension headers of the request are left out.  A reply to a group's address comes from ours
    (RFC 4443 4.2).
    """
    l3 = data + ETHER_LEN
    ip = Ipv6(l3)
    src_high = load64(l3 + IP6_SRC)
    src_low = load64(l3 + IP6_SRC + 8)
    if is_unspecified6(src_high, src_low):
        return IP6_NO_SOURCE
    dst_high = load64(l3 + IP6_DST)
    dst_low = load64(l3 + IP6_DST + 8)
    if is_multicast6(dst_high):
        reason = store_source(stack, l3, Mbuf(mbuf).port, IP6_SRC, src_high, src_low)
        if reason != 0:
            return reason
    else:
        store64(l3 + IP6_SRC, dst_high)
        store64(l3 + IP6_SRC + 8, dst_low)
    store64(l3 + IP6_DST, src_high)
    store64(l3 + IP6_DST + 8, src_low)
    if offset > IP6_LEN:
        size = IP6_LEN + ip.payload - offset
        copy(l3 + IP6_LEN, l3 + offset, size)
        ip.payload = size
        set_length(mbuf, ETHER_LEN + IP6_LEN + size)
    Icmp(l3 + IP6_LEN).type = ECHO_REPLY6
    return finish_icmp6(l3)


@compiled
def _may_answer(data, kind, code):
    """RFC 4443 2.4 (e): no error about an error or redirect, to a group, or to nobody."""
    l3 = data + ETHER_LEN
    high = load64(l3 + IP6_SRC)
    if is_multicast6(high) or is_unspecified6(high, load64(l3 + IP6_SRC + 8)):
        return 0
    if is_multicast6(load64(l3 + IP6_DST)) or load8(data) & 1:
        if kind != TOO_BIG6 and (kind != PARAMETER_PROBLEM or code != UNKNOWN_OPTION):
            return 0
    length = IP6_LEN + Ipv6(l3).payload
    upper = upper_of(l3, length)
    if upper & 0xFF == FRAGMENT:
        return 0 if load8(l3 + (upper >> 8)) == PROTO_ICMP6 else 1
    if upper & 0xFF == PROTO_ICMP6:
        if (upper >> 8) >= length:
            return 0
        inner = load8(l3 + (upper >> 8))
        return 1 if (inner >= FIRST_INFORMATIONAL and inner != REDIRECT) else 0
    return 1


@compiled
def _error_source(stack, l3, about, port):
    """Our address for an error: the packet's destination if that is ours, else towards its source
    (RFC 4443 2.2); 0 or a drop reason."""
    high = load64(about + IP6_DST)
    low = load64(about + IP6_DST + 8)
    if local6(stack, high, low, -1):
        store64(l3 + IP6_SRC, high)
        store64(l3 + IP6_SRC + 8, low)
        return 0
    return store_source(
        stack, l3, port, IP6_SRC, load64(about + IP6_SRC), load64(about + IP6_SRC + 8)
    )


@compiled
def send_error6(stack, frame, data, kind, code, rest):
    """Answer the sender of ``frame`` (its bytes at ``data``) with an ICMPv6 error where it came in.

    ``rest``: MTU or pointer.  The Ethernet header is reversed, so no neighbour has to be resolved
    for an attacker's sake.  Returns 1 when a message was sent.
    """
    s = Stack(stack)
    port = Mbuf(frame).port
    about = data + ETHER_LEN
    if _may_answer(data, kind, code) == 0:
        return 0
    if rate_allows(stack) == 0:
        count_drop(stack, ICMP_RATE)
        return 0
    mbuf = allocate(s.calls)
    if mbuf == 0:
        count_drop(stack, NO_MBUF)
        return 0
    Mbuf(mbuf).data_off = HEADROOM
    out = data_of(mbuf)
    l3 = out + ETHER_LEN
    reason = _error_source(stack, l3, about, port)
    if reason != 0:
        count_drop(stack, reason)
        free_one(s.calls, mbuf)
        return 0
    quoted = IP6_LEN + Ipv6(about).payload
    if quoted > IP6_MIN_MTU - IP6_LEN - 8:
        quoted = IP6_MIN_MTU - IP6_LEN - 8
    set_length(mbuf, ETHER_LEN + IP6_LEN + 8 + quoted)
    write_mac(out, load64(data + 6) & MAC_MASK)
    write_mac(out + 6, Port(s.ports[port]).mac)
    store16(out + 12, 0xDD86)
    store64(l3 + IP6_DST, load64(about + IP6_SRC))
    store64(l3 + IP6_DST + 8, load64(about + IP6_SRC + 8))
    Ipv6(l3).payload = 8 + quoted
    icmp = Icmp(l3 + IP6_LEN)
    icmp.type = kind
    icmp.code = code
    icmp.rest = rest
    copy(l3 + IP6_LEN + 8, about, quoted)
    finish_icmp6(l3)
    transmit(s.ports[port], mbuf)
    return 1


@compiled
def tell_problem(stack, mbuf, data):
    """Send the parameter problem that stack/exthdr.py found, if the sender is to be told."""
    found = Stack(stack).pointer6
    if found == NO_PROBLEM:
        return 0
    return send_error6(stack, mbuf, data, PARAMETER_PROBLEM, found >> CODE_SHIFT, found & 0xFFFF)
