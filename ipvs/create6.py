"""An IPv6 packet of no known connection becomes one; see ipvs/create.py."""

from __future__ import annotations

from ipvs.choose import choose
from ipvs.context import Ipvs, Packet
from ipvs.create import (
    LADDR_TRIES,
    clashes,
    complete,
    server_port,
    swap16,
    swap32,
    words_of_ports,
)
from ipvs.dest import DEST_SIZE, Dest
from ipvs.drops import CONN_CLASH, CONN_FULL, NO_DEST, NO_LADDR, NO_PORT
from ipvs.entry import (
    MODE_DR,
    MODE_FULLNAT,
    MODE_TUNNEL,
    S_NAT64,
    WIDE,
    Entry,
    swap_ports,
)
from ipvs.index import SEED_AT
from ipvs.laddr import LADDR_SIZE, LADDR_STATS_SIZE, Laddr, replica_of, take_port, take_port6
from ipvs.pairs import give_pair, take_pair
from ipvs.service import IdList, Service
from ipvs.table import entry_of
from ipvs.wide_entry import SIX, WIDE_AT, WIDE_SIDE, Wide, digest
from runtime.intrinsics import copy
from runtime.jit import compiled
from stack.checksum import difference, sum_bytes
from stack.headers import ETHER_LEN


@compiled
def _sum_of_side(entry, side):
    """Words of one side's addresses and ports, as the L4 checksum sees them."""
    at = Entry(entry).side[side]
    total = words_of_ports(at.ports)
    if at.ports & SIX:
        return total + sum_bytes(entry + WIDE_AT + side * WIDE_SIDE, WIDE_SIDE)
    return total + (at.addresses & 0xFFFFFFFF) + ((at.addresses >> 32) & 0xFFFFFFFF)


@compiled
def set_deltas6(entry):
    """Checksum terms of both directions.  Length and protocol count the same in either family's
    pseudo header, and IPv6 has no header checksum."""
    e = Entry(entry)
    a = _sum_of_side(entry, 0)
    b = _sum_of_side(entry, 1)
    e.forward[0].l3_delta = 0
    e.forward[1].l3_delta = 0
    e.forward[0].l4_delta = difference(a, b)
    e.forward[1].l4_delta = difference(b, a)
    return 0


@compiled
def _port_of(ipvs, entry, dest, laddr, stats, replica, server):
    """A free port of a local address for the connection to port ``server`` (both raw), or 0.

    The addresses of side 1 are filled for it.
    """
    w = Ipvs(ipvs)
    e = Entry(entry)
    d = Dest(dest)
    a = Laddr(laddr)
    if d.wide == 0:
        e.side[1].addresses = swap32(d.address) | (swap32(a.address) << 32)
        return swap16(take_port(laddr, stats, w.rss, replica, d.address, swap16(server), w.worker))
    other = Wide(entry + WIDE_AT).side[1]
    other.src_high = d.high
    other.src_low = d.low
    other.dst_high = a.high
    other.dst_low = a.low
    return swap16(take_port6(laddr, stats, w.rss, replica, other.ptr, server, w.worker))


@compiled
def _last_word(dest):
    """The number that names a real server's address when pools are chosen."""
    d = Dest(dest)
    return swap32((d.low >> 32) & 0xFFFFFFFF) if d.wide else d.address


@compiled
def _take_local6(ipvs, service, entry, dest):
    """FullNAT: pick a local address of the real server's family, and a port.  0 or a reason."""
    w = Ipvs(ipvs)
    s = Service(service)
    e = Entry(entry)
    d = Dest(dest)
    raw = server_port(entry, dest)
    ids = IdList(s.laddrs)
    tried = 0
    for _ in range(s.laddr_count):
        at = s.laddr_position + 1
        if at >= s.laddr_count:
            at = 0
        s.laddr_position = at
        number = ids.id[at]
        a = Laddr(w.laddrs + number * LADDR_SIZE)
        if a.present == 0 or (a.address == 0) != (d.wide != 0):
            continue
        replica = replica_of(a.ptr, _last_word(dest), swap16(raw))
        stats = w.laddr_stats + number * LADDR_STATS_SIZE
        port = _port_of(ipvs, entry, dest, a.ptr, stats, replica, raw)
        if port != 0:
            e.laddr = number + 1
            e.replica = replica
            e.side[1].ports = raw | (port << 16) | (s.proto << 32)
            return 0
        tried += 1
        if tried == LADDR_TRIES:
            break
    return NO_PORT if tried else NO_LADDR


@compiled
def _fill_side1(ipvs, service, entry, packet, dest):
    """The tuple of the server's side, by forwarding mode.  0 or a drop reason."""
    e = Entry(entry)
    k = Packet(packet)
    d = Dest(dest)
    if d.mode == MODE_FULLNAT:
        return _take_local6(ipvs, service, entry, dest)
    wide = Wide(entry + WIDE_AT)
    client = wide.side[0]
    other = wide.side[1]
    other.dst_high = client.src_high
    other.dst_low = client.src_low
    if d.mode == MODE_DR:
        # Nothing is rewritten: the way out equals the way in.
        other.src_high = client.dst_high
        other.src_low = client.dst_low
        e.side[1].ports = swap_ports(k.ports)
        return 0
    if d.mode == MODE_TUNNEL:
        # The outer header's addresses; resolve enters ours.
        other.src_high = d.high
        other.src_low = d.low
        e.side[1].addresses = swap32(d.address)
        e.side[1].ports = swap_ports(k.ports) & ~SIX
        return 0
    if d.wide == 0:
        return NO_DEST
    other.src_high = d.high
    other.src_low = d.low
    proto = k.ports & ~0xFFFFFFFF
    e.side[1].ports = server_port(entry, dest) | ((k.ports & 0xFFFF) << 16) | proto
    return 0


@compiled
def _fill_sides6(ipvs, service, entry, packet, dest):
    """Both tuples of a new connection.  0 or a drop reason."""
    w = Ipvs(ipvs)
    e = Entry(entry)
    k = Packet(packet)
    e.side[0].addresses = k.addresses
    e.side[0].ports = k.ports
    e.laddr = 0
    e.replica = 0
    copy(entry + WIDE_AT, k.data + ETHER_LEN + 8, WIDE_SIDE)
    reason = _fill_side1(ipvs, service, entry, packet, dest)
    if reason == 0 and Dest(dest).wide:
        e.side[1].ports = e.side[1].ports | SIX
        e.side[1].addresses = digest(w.index + SEED_AT, entry + WIDE_AT + WIDE_SIDE)
    return reason


@compiled
def create6(ipvs, service, packet):
    """New connection of an IPv6 ``service`` for the packet.

    Returns its reference (side 0), or minus a drop reason.  Nothing is left behind on failure.
    """
    w = Ipvs(ipvs)
    number = choose(ipvs, service, packet)
    if number < 0:
        return number
    dest = w.dests + number * DEST_SIZE
    slot = take_pair(w.table)
    if slot == 0:
        return -CONN_FULL
    entry = entry_of(w.table, slot)
    d = Dest(dest)
    reason = _fill_sides6(ipvs, service, entry, packet, dest)
    if reason == 0 and clashes(ipvs, entry, d.mode):
        reason = CONN_CLASH
    if reason != 0:
        give_pair(w.table, slot)
        return -reason
    set_deltas6(entry)
    special = S_NAT64 if d.wide == 0 and d.mode != MODE_TUNNEL else 0
    return complete(ipvs, service, slot, number, WIDE, special)
