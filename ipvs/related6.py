"""ICMPv6 errors about the packets of connections, translated in both directions.

As in ipvs/related.py: the quoted packet's tuple turned around finds the connection; the error goes
to the host that sent the packet, and quotes it as that host sent it.  Path MTU discovery through
the balancer depends on it.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import ICMP_NESTED, ICMP_QUOTE, ICMP_UNRELATED
from ipvs.echo import NO_ECHO, echo_of, echo_ports
from ipvs.entry import (
    ENTRY_SIZE,
    MODE_FULLNAT,
    ONE_SIDED,
    S_NAT64,
    S_TUNNEL,
    Entry,
    swap_ports,
    tuple_hash,
)
from ipvs.handover import hand_over
from ipvs.icmp64 import error_to_ipv4, grown, length_of6, restore_l4
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.seek6 import seek6
from ipvs.steps import mtu_towards, next_hop, send, tally
from ipvs.table import Table
from ipvs.tunnel6 import send_through
from ipvs.tunnel_error import is_tunnel, relay6
from ipvs.wide_entry import SIX, WIDE_AT, WIDE_SIDE, WideSide, digest, same_addresses
from runtime.intrinsics import copy, load8, load32, load64, store16, store64
from runtime.jit import compiled
from stack.checksum import checksum6
from stack.drops import IP_LOOP
from stack.drops6 import ICMP6_CHECKSUM, IP6_HOPS, IP6_TOO_BIG
from stack.exthdr import upper_of
from stack.headers import (
    ETHER_LEN,
    IP6_DST,
    IP6_LEN,
    IP6_MIN_MTU,
    IP6_SRC,
    PROTO_ICMP6,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
    Icmp,
    Ipv6,
)
from stack.icmp6 import FIRST_INFORMATIONAL, PARAMETER_PROBLEM, TOO_BIG6, UNREACHABLE6
from stack.ipv6 import receive_ipv6
from stack.local6 import local6


@compiled
def is_error6(kind):
    """1 for the ICMPv6 types that tell a host about a packet it sent."""
    return 1 if (kind >= UNREACHABLE6 and kind <= PARAMETER_PROBLEM) else 0


@compiled
def turn(at):
    """Swap source and destination, 32 bytes at ``at``."""
    high = load64(at)
    low = load64(at + 8)
    store64(at, load64(at + 16))
    store64(at + 8, load64(at + 24))
    store64(at + 16, high)
    store64(at + 24, low)
    return 0


@compiled
def quoted_upper(l3, quoted, room):
    """Upper protocol | offset << 8 of a quotation of ``room`` bytes; minus a drop reason.

    The quotation must have the ports (of a tunnel: as much of what is inside), and be of a packet
    the error's target sent.
    """
    if room < IP6_LEN + 8 or load8(quoted) >> 4 != 6:
        return -ICMP_QUOTE
    found = upper_of(quoted, room)
    if found == 0:
        return -ICMP_QUOTE
    proto = found & 0xFF
    offset = found >> 8
    if proto == PROTO_ICMP6 and offset < room and load8(quoted + offset) < FIRST_INFORMATIONAL:
        return -ICMP_NESTED
    if offset + 8 > room:
        return -ICMP_QUOTE
    if proto == PROTO_ICMP6:
        if echo_of(quoted + offset, 8, 1) == NO_ECHO:
            return -ICMP_UNRELATED
    elif not (proto == PROTO_TCP or proto == PROTO_UDP or proto == PROTO_SCTP or is_tunnel(proto)):
        return -ICMP_UNRELATED
    high = load64(quoted + IP6_SRC) ^ load64(l3 + IP6_DST)
    low = load64(quoted + IP6_SRC + 8) ^ load64(l3 + IP6_DST + 8)
    return found if high | low == 0 else -ICMP_UNRELATED


@compiled
def translate6(l3, icmp, length, entry, side, l4):
    """Rewrite an error that arrived on ``side``: quotation (ports at ``l4``), addresses, checksums.

    Who seems to send it: see related.translate.
    """
    e = Entry(entry)
    other = WideSide(entry + WIDE_AT + (side ^ 1) * WIDE_SIDE)
    copy(icmp + 8 + IP6_SRC, other.ptr, WIDE_SIDE)
    restore_l4(l4, icmp + length, entry, side, length_of6(icmp + 8, l4))
    if load8(icmp) == TOO_BIG6 and grown(entry, side):
        told = Icmp(icmp)
        told.rest = max(told.rest - grown(entry, side), IP6_MIN_MTU)
    store64(l3 + IP6_DST, other.src_high)
    store64(l3 + IP6_DST + 8, other.src_low)
    if side == 1 or e.mode == MODE_FULLNAT:
        store64(l3 + IP6_SRC, other.dst_high)
        store64(l3 + IP6_SRC + 8, other.dst_low)
    store16(icmp + 2, 0)
    store16(icmp + 2, checksum6(l3, icmp, PROTO_ICMP6, length) ^ 0xFFFF)
    return 0


@compiled
def forward_error6(ipvs, packet, reference, icmp, length, l4):
    """Send a checked error on to the sender of the packet it is about; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    side = reference & 1
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    l3 = k.data + ETHER_LEN
    ip = Ipv6(l3)
    e = Entry(entry)
    if local6(w.stack, load64(l3 + IP6_SRC), load64(l3 + IP6_SRC + 8), -1):
        return IP_LOOP
    if e.special & S_NAT64:
        return error_to_ipv4(ipvs, packet, entry, icmp, length, l4)
    if e.special & S_TUNNEL:
        return send_through(ipvs, packet, entry, 0)
    hop = next_hop(ipvs, entry, side)
    if hop < 0:
        return -hop
    total = ip.payload + IP6_LEN
    if total > mtu_towards(ipvs, entry, side, hop):
        return IP6_TOO_BIG
    if e.flags & ONE_SIDED == 0:
        if w.xmit_ttl:
            if ip.hops <= 1:
                return IP6_HOPS
            ip.hops -= 1
        translate6(l3, icmp, length, entry, side, l4)
    tally(ipvs, entry, side, total)
    return send(ipvs, hop, k.mbuf, k.data)


@compiled
def _unrelated6(ipvs, packet, reason):
    """An error about no connection: to us it is dropped for ``reason``, else just forwarded."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    if local6(w.stack, load64(l3 + IP6_DST), load64(l3 + IP6_DST + 8), -1):
        return reason
    return receive_ipv6(w.stack, k.mbuf, k.data)


@compiled
def _find(ipvs, at, ports):
    """Reference of the connection whose packets arrive with the 32 address bytes at ``at``, or
    0."""
    w = Ipvs(ipvs)
    addresses = digest(w.index + SEED_AT, at)
    hashed = tuple_hash(w.index + SEED_AT, addresses, ports)
    reference = find(w.index, home(w.index, hashed), tag_of(hashed), addresses, ports)
    if reference == 0:
        return 0
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    return reference if same_addresses(at, entry + WIDE_AT + (reference & 1) * WIDE_SIDE) else 0


@compiled
def receive_error6(ipvs, packet, handed, icmp, length):
    """An ICMPv6 error of ``length`` bytes; 0 or a drop reason."""
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    quoted = icmp + 8
    found = quoted_upper(l3, quoted, length - 8)
    if found < 0:
        return _unrelated6(ipvs, packet, -found)
    if is_tunnel(found & 0xFF):
        return relay6(ipvs, packet, handed, icmp, length, found)
    if checksum6(l3, icmp, PROTO_ICMP6, length) != 0xFFFF:
        return ICMP6_CHECKSUM
    l4 = quoted + (found >> 8)
    if found & 0xFF == PROTO_ICMP6:
        ports = swap_ports(echo_ports(l4, 1))
    else:
        ports = swap_ports(load32(l4)) | ((found & 0xFF) << 32) | SIX
    # Turned in place for a moment: that is how packets arrive on the side the error comes from.
    turn(quoted + IP6_SRC)
    reference = _find(ipvs, quoted + IP6_SRC, ports)
    owner = seek6(ipvs, k.mbuf, handed, quoted + IP6_SRC, ports) if reference == 0 else -1
    turn(quoted + IP6_SRC)
    if reference != 0:
        return forward_error6(ipvs, packet, reference, icmp, length, l4)
    if owner >= 0:
        return hand_over(ipvs, k.mbuf, owner)
    return _unrelated6(ipvs, packet, ICMP_UNRELATED)
