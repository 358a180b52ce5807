"""ICMP errors about the packets of connections, translated in both directions (RFC 3022, 5508).

An error quotes the packet it is about, as we sent it.  That packet's tuple turned around is how
packets arrive on the side the error comes from, so it finds the connection.  The quoted packet
becomes what its sender sent, the error goes to that sender.
"""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.create import swap16
from ipvs.drops import ICMP_NESTED, ICMP_QUOTE, ICMP_UNRELATED
from ipvs.echo import NO_ECHO, echo_of, echo_ports
from ipvs.entry import (
    ENTRY_SIZE,
    FORWARD_AT,
    MODE_FULLNAT,
    ONE_SIDED,
    S_NAT64,
    S_PROXY,
    S_SEQ,
    S_TOA,
    S_TUNNEL,
    WIDE,
    Entry,
    Forward,
    Side,
    swap_halves,
    swap_ports,
    tuple_hash,
)
from ipvs.handover import hand_over
from ipvs.icmp64 import error_to_ipv6
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.sctp import restore_sctp
from ipvs.seek import seek
from ipvs.sequence import restore_quoted_seq
from ipvs.steps import mtu_towards, next_hop, send, tally
from ipvs.table import Table
from ipvs.toa import size_of
from ipvs.tunnel import OUTER, send_in_tunnel
from ipvs.tunnel6 import send_through
from ipvs.tunnel_error import is_tunnel, relay
from ipvs.tunnel_inner import ports4
from runtime.intrinsics import load8, load16, load32, load64, store16, store32, store64
from runtime.jit import compiled
from stack.arp import is_local
from stack.checksum import checksum, fold, sum_bytes, update
from stack.drops import ICMP_CHECKSUM, IP_LOOP, IP_TOO_BIG, IP_TTL
from stack.headers import (
    ETHER_LEN,
    IP_DF,
    IP_MF,
    IP_MIN_MTU,
    PROTO_ICMP,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
    Icmp,
    Ipv4,
)
from stack.icmp import PARAMETER_PROBLEM, REDIRECT, SOURCE_QUENCH, TIME_EXCEEDED, UNREACHABLE
from stack.ipv4 import decrement_ttl, receive_ipv4
from stack.split import send_split

# One bit a type
ERRORS = 1 << UNREACHABLE | 1 << SOURCE_QUENCH | 1 << TIME_EXCEEDED | 1 << PARAMETER_PROBLEM


@compiled
def is_error(kind):
    """1 for the ICMP types that tell a host about a packet it sent.

    Redirects are not among them: they are for the host on our link, which is us.
    """
    return (ERRORS >> kind) & 1 if kind <= PARAMETER_PROBLEM else 0


@compiled
def check_quote(l3, icmp, length):
    """0 when an ICMP error of ``length`` bytes quotes a packet that may be looked up.

    That is: at least its IP header and 64 bits (RFC 792), a first fragment, nothing that no error
    may be about (RFC 1122 3.2.2), sent by the host that the error is for.
    """
    quoted = Ipv4(icmp + 8)
    size = ports4(quoted.ptr, length - 8)
    if size == 0:
        return ICMP_QUOTE
    if quoted.proto == PROTO_ICMP:
        kind = load8(quoted.ptr + size)
        if is_error(kind) or kind == REDIRECT:
            return ICMP_NESTED
    return 0 if quoted.src == Ipv4(l3).dst else ICMP_UNRELATED


@compiled
def length_of(quoted):
    """Bytes behind the header of a quoted IPv4 packet, 0 for a fragment, which does not tell."""
    ip = Ipv4(quoted)
    return 0 if ip.frag & IP_MF else ip.total - (ip.ver_ihl & 15) * 4


@compiled
def restore_quoted(quoted, room, entry, side):
    """Make the quoted packet what it was before we sent it: tuple and checksums (RFC 1624).

    TCP's and SCTP's checksum may lie behind the end of the quotation, which has ``room`` bytes.
    """
    other = Side(entry + (side ^ 1) * 16)
    forward = Forward(entry + FORWARD_AT + side * 8)
    l4 = quoted + (Ipv4(quoted).ver_ihl & 15) * 4
    store64(quoted + 12, other.addresses)
    store16(quoted + 10, update(load16(quoted + 10), forward.l3_delta))
    if Ipv4(quoted).proto == PROTO_ICMP:
        identifier = other.ports if side == 0 else other.ports >> 16
        store16(l4 + 4, identifier & 0xFFFF)
        store16(l4 + 2, update(load16(l4 + 2), forward.l4_delta))
        return 0
    if Ipv4(quoted).proto == PROTO_SCTP:
        return restore_sctp(l4, quoted + room, other.ports, length_of(quoted))
    store32(l4, other.ports)
    if Ipv4(quoted).proto == PROTO_TCP:
        whole = 1 if l4 + 18 <= quoted + room else 0
        if whole:
            store16(l4 + 16, update(load16(l4 + 16), forward.l4_delta))
        if side == 1 and Entry(entry).special & (S_SEQ | S_PROXY):
            restore_quoted_seq(entry, l4, whole)
    elif load16(l4 + 6) != 0:
        new = update(load16(l4 + 6), forward.l4_delta)
        store16(l4 + 6, new if new != 0 else 0xFFFF)
    return 0


@compiled
def translate(l3, icmp, length, entry, side):
    """Rewrite an error that arrived on ``side``: quotation, addresses, all checksums.

    Inside addresses do not get out: towards the client the error comes from the virtual address,
    whichever host sent it (RFC 5508 REQ-5), towards a FullNAT server from the local address.  An
    outside host keeps its address (REQ-4), so a traceroute from inside shows the way.
    """
    e = Entry(entry)
    other = Side(entry + (side ^ 1) * 16).addresses
    restore_quoted(icmp + 8, length - 8, entry, side)
    if side == 1 and e.special & S_TOA and load8(icmp) == UNREACHABLE and load8(icmp + 1) == 4:
        # A segment of the told size would grow beyond it again.
        told = Icmp(icmp)
        told.rest = told.rest - size_of(entry) if told.rest & 0xFFFF > IP_MIN_MTU else told.rest
    store32(l3 + 16, other & 0xFFFFFFFF)
    if side == 1 or e.mode == MODE_FULLNAT:
        store32(l3 + 12, (other >> 32) & 0xFFFFFFFF)
    store16(l3 + 10, 0)
    store16(l3 + 10, checksum(l3, (Ipv4(l3).ver_ihl & 15) * 4))
    # Not by difference: changes and checksums of the quotation cancel out only nearly.
    store16(icmp + 2, 0)
    store16(icmp + 2, checksum(icmp, length))
    return 0


@compiled
def forward_error(ipvs, packet, reference, icmp, length):
    """Send a checked error on to the sender of the packet it is about; 0 or a drop reason.

    It is no sign of life: the connection's state and idle time stay (RFC 5508 REQ-6, 5382 REQ-10).
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    side = reference & 1
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    l3 = k.data + ETHER_LEN
    ip = Ipv4(l3)
    if is_local(w.stack, ip.src, -1):
        return IP_LOOP
    hop = next_hop(ipvs, entry, side)
    if hop < 0:
        return -hop
    total = ip.total
    tunnel = Entry(entry).special & S_TUNNEL
    mtu = mtu_towards(ipvs, entry, side, hop) - (OUTER if tunnel else 0)
    if total > mtu and ip.frag & IP_DF:
        return IP_TOO_BIG
    if Entry(entry).flags & ONE_SIDED == 0:
        if w.xmit_ttl:
            if ip.ttl <= 1:
                return IP_TTL
            decrement_ttl(l3)
        translate(l3, icmp, length, entry, side)
    tally(ipvs, entry, side, total)
    if tunnel:
        return send_in_tunnel(ipvs, packet, entry, hop, total, mtu)
    if total > mtu:
        return send_split(w.stack, hop, k.mbuf, k.data, mtu)
    return send(ipvs, hop, k.mbuf, k.data)


@compiled
def _unrelated(ipvs, packet, reason):
    """An error about no connection: to us it is dropped for ``reason``, else just forwarded."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    if is_local(w.stack, Ipv4(k.data + ETHER_LEN).dst, -1):
        return reason
    return receive_ipv4(w.stack, k.mbuf, k.data)


@compiled
def _error_between(ipvs, packet, reference, icmp, length, l4):
    """An error about a packet of a connection that is IPv6 on its other side."""
    w = Ipvs(ipvs)
    entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
    if is_local(w.stack, Ipv4(Packet(packet).data + ETHER_LEN).src, -1):
        return IP_LOOP
    if Entry(entry).special & S_NAT64:
        return error_to_ipv6(ipvs, packet, entry, icmp, length, l4)
    if Entry(entry).special & S_TUNNEL:
        return send_through(ipvs, packet, entry, 0)
    return ICMP_UNRELATED


@compiled
def receive_error(ipvs, packet, handed, icmp, length):
    """An ICMP error of ``length`` bytes; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    if fold(sum_bytes(icmp, length)) != 0xFFFF:
        return _unrelated(ipvs, packet, ICMP_CHECKSUM)
    reason = check_quote(k.data + ETHER_LEN, icmp, length)
    if reason != 0:
        return _unrelated(ipvs, packet, reason)
    quoted = Ipv4(icmp + 8)
    proto = quoted.proto
    addresses = swap_halves(load64(quoted.ptr + 12))
    l4 = quoted.ptr + (quoted.ver_ihl & 15) * 4
    if proto == PROTO_ICMP and echo_of(l4, 8, 0) != NO_ECHO:
        ports = swap_ports(echo_ports(l4, 0))
    elif is_tunnel(proto) and is_local(w.stack, quoted.src, -1):
        return relay(ipvs, packet, handed, icmp, length)
    elif proto != PROTO_TCP and proto != PROTO_UDP and proto != PROTO_SCTP:
        return _unrelated(ipvs, packet, ICMP_UNRELATED)
    else:
        ports = swap_ports(load32(l4)) | (proto << 32)
    hashed = tuple_hash(w.index + SEED_AT, addresses, ports)
    reference = find(w.index, home(w.index, hashed), tag_of(hashed), addresses, ports)
    if reference != 0:
        entry = Table(w.table).entries + (reference >> 1) * ENTRY_SIZE
        if Entry(entry).flags & WIDE:
            return _error_between(ipvs, packet, reference, icmp, length, l4)
        return forward_error(ipvs, packet, reference, icmp, length)
    sport = swap16(ports & 0xFFFF)
    dport = swap16((ports >> 16) & 0xFFFF)
    owner = seek(ipvs, k.mbuf, handed, quoted.dst, quoted.src, sport, dport, proto)
    if owner >= 0:
        return hand_over(ipvs, k.mbuf, owner)
    return _unrelated(ipvs, packet, ICMP_UNRELATED)


@compiled
def receive_icmp(ipvs, packet, handed):
    """A checked, whole IPv4 packet with an ICMP message; 0 or a drop reason."""
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    size = (Ipv4(l3).ver_ihl & 15) * 4
    length = Ipv4(l3).total - size
    if length >= 8 and is_error(load8(l3 + size)):
        return receive_error(ipvs, packet, handed, l3 + size, length)
    return receive_ipv4(Ipvs(ipvs).stack, k.mbuf, k.data)
