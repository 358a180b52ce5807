"""SNAT: connections that inside hosts open, sent with an address and port of ours (RFC 3022).

The "real servers" of a match service are the addresses that the outside sees.  Side 0 is how the
outside host's packets arrive, side 1 how the inside host's do: as in every other mode, the hosts
we stand in front of are on side 1.  Ports come from the pool of the outside address
(ipvs/laddr.py), so the outside host's packets return to this worker and no two connections share a
tuple.  An ICMP echo has its identifier in place of the inside port and none outside (RFC 5508 3.1).
IPv6 is the same with wide entries.
"""

from __future__ import annotations

from ipvs.begin import begin
from ipvs.choose import choose
from ipvs.context import Ipvs, Packet
from ipvs.create import set_deltas, swap16, swap32, words_of_ports
from ipvs.create6 import set_deltas6
from ipvs.dest import DEST_SIZE, Dest
from ipvs.drops import CONN_CLASH, CONN_FULL, NO_LADDR, NO_PORT
from ipvs.entry import HASHED1, S_SCTP, S_SNAT, SPECIAL, WIDE, Entry, tuple_hash
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.laddr import (
    LADDR_SIZE,
    LADDR_STATS_SIZE,
    Laddr,
    give_port,
    replica_of,
    take_identifier,
    take_port,
    take_port6,
)
from ipvs.pairs import give_pair, take_pair
from ipvs.service import find as find_service
from ipvs.service import find6 as find_service6
from ipvs.table import entry_of, give_entry, take_entry
from ipvs.wide_entry import SIX, WIDE_AT, WIDE_SIDE, Wide, digest
from runtime.intrinsics import copy, load64
from runtime.jit import compiled
from stack.checksum import difference
from stack.headers import (
    ETHER_LEN,
    IP6_DST,
    IP6_SRC,
    PROTO_ICMP,
    PROTO_ICMP6,
    PROTO_SCTP,
    PROTO_TCP,
)

TRIES = 8  # ports looked at when something else already uses the tuple


@compiled
def _side0_taken(ipvs, entry, laddr, port):
    """1 when what would arrive on side 0 is somebody else's: a connection's or a service's."""
    w = Ipvs(ipvs)
    a = Laddr(laddr)
    at = Entry(entry).side[0]
    proto = (at.ports >> 32) & 0xFF
    if at.ports & SIX:
        service = find_service6(w.services, a.high, a.low, port, proto)
    else:
        service = find_service(w.services, a.address, port, proto)
    if service != 0:
        return 1
    hashed = tuple_hash(w.index + SEED_AT, at.addresses, at.ports)
    found = find(w.index, home(w.index, hashed), tag_of(hashed), at.addresses, at.ports)
    return 1 if found != 0 else 0


@compiled
def _fill_addresses(ipvs, entry, packet, laddr):
    """Addresses of both sides: the packet's, and with the outside's in place of the inside's.

    Returns the number that names the outside host when pools are chosen.
    """
    e = Entry(entry)
    k = Packet(packet)
    a = Laddr(laddr)
    e.side[1].addresses = k.addresses
    e.side[1].ports = k.ports
    if k.ports & SIX == 0:
        far = (k.addresses >> 32) & 0xFFFFFFFF
        e.side[0].addresses = far | (swap32(a.address) << 32)
        return swap32(far)
    l3 = k.data + ETHER_LEN
    copy(entry + WIDE_AT + WIDE_SIDE, l3 + IP6_SRC, WIDE_SIDE)
    outside = Wide(entry + WIDE_AT).side[0]
    outside.src_high = load64(l3 + IP6_DST)
    outside.src_low = load64(l3 + IP6_DST + 8)
    outside.dst_high = a.high
    outside.dst_low = a.low
    e.side[0].addresses = digest(Ipvs(ipvs).index + SEED_AT, outside.ptr)
    return swap32((outside.src_low >> 32) & 0xFFFFFFFF)


@compiled
def _take(ipvs, entry, laddr, stats, replica, host):
    """A free port or identifier of an outside address towards the outside host, or 0."""
    w = Ipvs(ipvs)
    raw = Entry(entry).side[1].ports
    proto = (raw >> 32) & 0xFF
    port = (raw >> 16) & 0xFFFF
    if proto == PROTO_ICMP or proto == PROTO_ICMP6:
        return take_identifier(laddr, stats, replica, w.worker, w.workers)
    if raw & SIX:
        at = entry + WIDE_AT
        return take_port6(laddr, stats, w.rss, replica, at, port, w.worker)
    return take_port(laddr, stats, w.rss, replica, host, swap16(port), w.worker)


@compiled
def _take_outside(ipvs, entry, packet, dest):
    """Choose the port (or identifier) the outside sees and fill both sides; 0 or a reason."""
    w = Ipvs(ipvs)
    e = Entry(entry)
    k = Packet(packet)
    number = Dest(dest).pool - 1
    a = Laddr(w.laddrs + number * LADDR_SIZE)
    if number < 0 or a.present == 0 or (a.address == 0) != (k.ports & SIX != 0):
        return NO_LADDR
    stats = w.laddr_stats + number * LADDR_STATS_SIZE
    host = _fill_addresses(ipvs, entry, packet, a.ptr)
    far = (k.ports >> 16) & 0xFFFF
    replica = replica_of(a.ptr, host, swap16(far))
    for _ in range(TRIES):
        port = _take(ipvs, entry, a.ptr, stats, replica, host)
        if port == 0:
            return NO_PORT
        e.side[0].ports = far | (swap16(port) << 16) | (k.ports & ~0xFFFFFFFF)
        if _side0_taken(ipvs, entry, a.ptr, port) == 0:
            e.laddr = number + 1
            e.replica = replica
            return 0
        give_port(a.ptr, stats, replica, port)
    return CONN_CLASH


@compiled
def _set_deltas(entry, proto):
    e = Entry(entry)
    if e.side[1].ports & SIX:
        set_deltas6(entry)
        return 0
    set_deltas(entry)
    if proto == PROTO_ICMP:
        # No pseudo header: only the identifier counts.
        before = words_of_ports(e.side[0].ports)
        after = words_of_ports(e.side[1].ports)
        e.forward[0].l4_delta = difference(before, after)
        e.forward[1].l4_delta = difference(after, before)
    return 0


@compiled
def open_outwards(ipvs, service, packet):
    """New connection of an inside host; its reference (side 1), or minus a drop reason."""
    w = Ipvs(ipvs)
    ports = Packet(packet).ports
    number = choose(ipvs, service, packet)
    if number < 0:
        return number
    slot = take_pair(w.table) if ports & SIX else take_entry(w.table)
    if slot == 0:
        return -CONN_FULL
    entry = entry_of(w.table, slot)
    reason = _take_outside(ipvs, entry, packet, w.dests + number * DEST_SIZE)
    if reason != 0:
        if ports & SIX:
            give_pair(w.table, slot)
        else:
            give_entry(w.table, slot)
        return -reason
    proto = (ports >> 32) & 0xFF
    _set_deltas(entry, proto)
    flags = HASHED1 | (WIDE if ports & SIX else 0)
    if proto == PROTO_TCP:
        return begin(ipvs, service, slot, number, flags, 0) + 1
    special = S_SCTP if proto == PROTO_SCTP else S_SNAT
    return begin(ipvs, service, slot, number, flags | SPECIAL, special) + 1
