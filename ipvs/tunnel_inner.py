"""The client's packet inside of a quoted tunnel packet, and the connection that it is of."""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.drops import ICMP_QUOTE
from ipvs.entry import S_TUNNEL, Entry, swap_halves, tuple_hash
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.table import entry_of
from ipvs.wide_entry import SIX, WIDE_AT, WIDE_SIDE, WideSide, digest, is_between
from runtime.intrinsics import load8, load32, load64
from runtime.jit import compiled
from stack.exthdr import FRAGMENT, upper_of
from stack.headers import IP6_DST, IP6_LEN, IP6_SRC, IP_OFFSET, Ipv4, Ipv6


@compiled
def ports4(quoted, room):
    """Offset of the ports in a quoted IPv4 packet of which ``room`` bytes are there, or 0.

    0: cut short in front of them (less than the 64 bits of RFC 792), a later fragment, malformed.
    """
    if room < 28:
        return 0
    ip = Ipv4(quoted)
    size = (ip.ver_ihl & 15) * 4
    if ip.ver_ihl >> 4 != 4 or size < 20 or size + 8 > room:
        return 0
    return 0 if (ip.total < size + 8 or ip.frag & IP_OFFSET) else size


@compiled
def _ports6(quoted, room):
    """The same for IPv6: upper protocol | offset << 8, or 0."""
    if room < IP6_LEN + 8 or load8(quoted) >> 4 != 6:
        return 0
    found = upper_of(quoted, room)
    behind = (found >> 8) + 8
    if found & 0xFF == FRAGMENT or behind > room or behind > IP6_LEN + Ipv6(quoted).payload:
        return 0
    return found


@compiled
def _search(ipvs, addresses, ports):
    index = Ipvs(ipvs).index
    hashed = tuple_hash(index + SEED_AT, addresses, ports)
    return find(index, home(index, hashed), tag_of(hashed), addresses, ports)


@compiled
def _of_inner6(ipvs, inner, room):
    found = _ports6(inner, room)
    if found == 0:
        return -ICMP_QUOTE
    ports = load32(inner + (found >> 8)) | ((found & 0xFF) << 32) | SIX
    addresses = digest(Ipvs(ipvs).index + SEED_AT, inner + IP6_SRC)
    reference = _search(ipvs, addresses, ports)
    if reference == 0:
        return 0
    entry = entry_of(Ipvs(ipvs).table, reference >> 1)
    return reference if is_between(inner, entry, reference & 1) else 0


@compiled
def connection_of(ipvs, inner, room, six):
    """Reference of the connection whose client sent the packet at ``inner``, IPv6 if ``six``.

    ``room``: bytes of it that are there.  0 when this worker has none, or minus a drop reason.
    """
    if six:
        return _of_inner6(ipvs, inner, room)
    size = ports4(inner, room)
    if size == 0:
        return -ICMP_QUOTE
    ports = load32(inner + size) | (Ipv4(inner).proto << 32)
    return _search(ipvs, load64(inner + 12), ports)


@compiled
def goes_in(ipvs, reference, outer):
    """1 when packets of the connection side ``reference`` leave behind the header at ``outer``.

    So whoever makes an error up must know the real server too.
    """
    entry = entry_of(Ipvs(ipvs).table, reference >> 1)
    if reference & 1 or Entry(entry).special & S_TUNNEL == 0:
        return 0
    side = Entry(entry).side[1]
    if load8(outer) >> 4 == 4:
        same = side.ports & SIX == 0 and load64(outer + 12) == swap_halves(side.addresses)
        return 1 if same else 0
    wide = WideSide(entry + WIDE_AT + WIDE_SIDE)
    ours = (load64(outer + IP6_SRC) ^ wide.dst_high) | (load64(outer + IP6_SRC + 8) ^ wide.dst_low)
    end = (load64(outer + IP6_DST) ^ wide.src_high) | (load64(outer + IP6_DST + 8) ^ wide.src_low)
    return 1 if (side.ports & SIX and ours | end == 0) else 0
