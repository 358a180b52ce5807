"""ICMP (RFC 792): echo replies in place, error messages with the rules of RFC 1122 and 1812."""

from __future__ import annotations

from netdev.abi import HEADROOM, Mbuf
from netdev.mbuf import allocate, data_of, set_length
from netdev.port import transmit
from runtime.intrinsics import copy, load8, store16, store64
from runtime.jit import compiled
from stack.checksum import checksum, fold, sum_bytes
from stack.context import Stack
from stack.drops import ICMP_CHECKSUM, ICMP_RATE, ICMP_SHORT, ICMP_TYPE, NO_MBUF
from stack.headers import ETHER_LEN, IP_OFFSET, PROTO_ICMP, Icmp, Ipv4
from stack.neigh import count_drop
from stack.route import LOCAL, Route, lookup

ECHO_REPLY = 0
UNREACHABLE = 3
HOST_UNREACHABLE = 1
FRAG_NEEDED = 4
PORT_UNREACHABLE = 3
SOURCE_QUENCH = 4
REDIRECT = 5
ECHO = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12

ERROR_BYTES = 576  # RFC 1812 4.3.2.3: as much as fits without exceeding this
ERRORS_PER_SECOND = 1000
TTL = 64


@compiled
def echo(stack, mbuf, data):
    """Turn a checked echo request into the reply, in place; 0 (send it) or a drop reason."""
    ip = Ipv4(data + ETHER_LEN)
    size = (ip.ver_ihl & 15) * 4
    length = ip.total - size
    if length < 8:
        return ICMP_SHORT
    icmp = Icmp(ip.ptr + size)
    if fold(sum_bytes(icmp.ptr, length)) != 0xFFFF:
        return ICMP_CHECKSUM
    if icmp.type != ECHO or icmp.code != 0:
        return ICMP_TYPE
    icmp.type = ECHO_REPLY
    # Not by difference: of a message that is all zeros now, that would be wrong (RFC 1624 sec. 3).
    icmp.check = 0
    store16(icmp.ptr + 2, checksum(icmp.ptr, length))
    src = ip.src
    ip.src = ip.dst
    ip.dst = src
    ip.ttl = TTL
    ip.check = 0
    store16(ip.ptr + 10, checksum(ip.ptr, size))
    return 0


@compiled
def _may_answer(stack, ip_address):
    """RFC 1122 3.2.2: no error about an ICMP error, a later fragment, or a group address."""
    ip = Ipv4(ip_address)
    if ip.frag & IP_OFFSET:
        return 0
    if ip.proto == PROTO_ICMP:
        size = (ip.ver_ihl & 15) * 4
        if ip.total <= size:
            return 0
        kind = load8(ip_address + size)
        if kind != ECHO and kind != ECHO_REPLY and kind != 13 and kind != 14:
            return 0
    top = ip.src >> 24
    if top == 0 or top == 127 or top >= 224 or ip.dst >> 28 == 14:
        return 0
    return 1


@compiled
def rate_allows(stack):
    """Token bucket of ERRORS_PER_SECOND, burst of a tenth second (RFC 1812 4.3.2.8)."""
    s = Stack(stack)
    passed = (s.now - s.icmp_refill) & 0xFFFFFFFF
    if passed > 0:
        s.icmp_refill = s.now
        s.icmp_tokens += passed * (ERRORS_PER_SECOND // 1000)
        if s.icmp_tokens > ERRORS_PER_SECOND // 10:
            s.icmp_tokens = ERRORS_PER_SECOND // 10
    if s.icmp_tokens <= 0:
        return 0
    s.icmp_tokens -= 1
    return 1


@compiled
def _error_source(stack, about):
    """Address an error is sent from: ours if the packet was to us, else the way back's source."""
    s = Stack(stack)
    ip = Ipv4(about)
    route = lookup(s.routes, ip.dst)
    if route != 0 and Route(route).kind == LOCAL:
        return ip.dst
    back = lookup(s.routes, ip.src)
    if back == 0:
        return 0
    r = Route(back)
    if r.kind == LOCAL:
        return 0
    if r.source == 0 and r.gateway != 0:
        via = lookup(s.routes, r.gateway)
        return Route(via).source if via != 0 else 0
    return r.source


@compiled
def _fill_headers(stack, l3, source, target, quoted, kind, code, mtu):
    s = Stack(stack)
    store64(l3, 0)
    store64(l3 + 8, 0)
    store64(l3 + 16, 0)
    ip = Ipv4(l3)
    ip.ver_ihl = 0x45
    ip.tos = 0xC0  # RFC 1812 4.3.2.5: internetwork control
    ip.total = 28 + quoted
    s.ip_id = (s.ip_id + 1) & 0xFFFF
    ip.id = s.ip_id
    ip.ttl = TTL
    ip.proto = PROTO_ICMP
    ip.src = source
    ip.dst = target
    store16(l3 + 10, checksum(l3, 20))
    icmp = Icmp(l3 + 20)
    icmp.type = kind
    icmp.code = code
    icmp.check = 0
    icmp.rest = mtu
    store16(l3 + 22, checksum(l3 + 20, 8 + quoted))
    return 0


@compiled
def send_error(stack, frame, data, kind, code, mtu):
    """Answer the sender of ``frame`` (its bytes at ``data``) with an ICMP error where it came in.

    The Ethernet header is reversed, so no neighbour has to be resolved for an attacker's sake.
    Returns 1 when a message was sent.
    """
    s = Stack(stack)
    about = data + ETHER_LEN
    source = _error_source(stack, about)
    if source == 0 or not _may_answer(stack, about):
        return 0
    if not rate_allows(stack):
        count_drop(stack, ICMP_RATE)
        return 0
    mbuf = allocate(s.calls)
    if mbuf == 0:
        count_drop(stack, NO_MBUF)
        return 0
    quoted = Ipv4(about).total
    if quoted > ERROR_BYTES - 28:
        quoted = ERROR_BYTES - 28
    Mbuf(mbuf).data_off = HEADROOM
    set_length(mbuf, ETHER_LEN + 28 + quoted)
    out = data_of(mbuf)
    copy(out, data + 6, 6)
    copy(out + 6, data, 6)
    store16(out + 12, 0x0008)
    copy(out + ETHER_LEN + 28, about, quoted)
    _fill_headers(stack, out + ETHER_LEN, source, Ipv4(about).src, quoted, kind, code, mtu)
    transmit(s.ports[Mbuf(frame).port], mbuf)
    return 1
