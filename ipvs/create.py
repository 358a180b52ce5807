"""A packet of no known connection becomes one: schedule, choose a local port, fill the entry."""

from __future__ import annotations

from ipvs.begin import begin
from ipvs.choose import choose
from ipvs.context import Ipvs, Packet
from ipvs.dest import DEST_SIZE, Dest
from ipvs.drops import CONN_CLASH, CONN_FULL, NO_DEST, NO_LADDR, NO_PORT
from ipvs.entry import (
    HASHED1,
    MODE_DR,
    MODE_FULLNAT,
    MODE_TUNNEL,
    ONE_SIDED,
    S_SCTP,
    S_TUNNEL,
    SPECIAL,
    WIDE,
    Entry,
    swap_halves,
    swap_ports,
    tuple_hash,
)
from ipvs.handshake import prepare
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.laddr import LADDR_SIZE, LADDR_STATS_SIZE, Laddr, replica_of, take_port
from ipvs.pairs import take_pair
from ipvs.service import IdList, Service
from ipvs.table import (
    entry_of,
    give_entry,
    publish_side,
    take_entry,
)
from ipvs.wide_entry import SIX, WIDE_AT, Wide
from runtime.jit import compiled, inlined
from stack.byteorder import swap16 as swap16
from stack.byteorder import swap32 as swap32
from stack.checksum import difference
from stack.headers import PROTO_SCTP

LADDR_TRIES = 16


@compiled
def _words(addresses):
    return (addresses & 0xFFFFFFFF) + ((addresses >> 32) & 0xFFFFFFFF)


@compiled
def words_of_ports(ports):
    """Both ports as the words a checksum sums."""
    return (ports & 0xFFFF) + ((ports >> 16) & 0xFFFF)


@compiled
def set_deltas(entry):
    """Checksum terms of both directions from the two tuples (L4 covers the addresses too)."""
    e = Entry(entry)
    a0 = _words(e.side[0].addresses)
    a1 = _words(e.side[1].addresses)
    p0 = words_of_ports(e.side[0].ports)
    p1 = words_of_ports(e.side[1].ports)
    e.forward[0].l3_delta = difference(a0, a1)
    e.forward[1].l3_delta = difference(a1, a0)
    e.forward[0].l4_delta = difference(a0 + p0, a1 + p1)
    e.forward[1].l4_delta = difference(a1 + p1, a0 + p0)
    return 0


@compiled
def server_port(entry, dest):
    """Port (raw) of the real server for a connection whose client's side is filled in.

    Behind a service of all ports it is the one that the client asked for.
    """
    port = Dest(dest).port
    return swap16(port) if port != 0 else (Entry(entry).side[0].ports >> 16) & 0xFFFF


@compiled
def _take_local(ipvs, service, entry, dest):
    """FullNAT: pick a local address and port; fills side 1.  0 or a drop reason."""
    w = Ipvs(ipvs)
    s = Service(service)
    e = Entry(entry)
    d = Dest(dest)
    count = s.laddr_count
    if count == 0:
        return NO_LADDR
    raw = server_port(entry, dest)
    dport = swap16(raw)
    ids = IdList(s.laddrs)
    tries = count if count < LADDR_TRIES else LADDR_TRIES
    for _ in range(tries):
        at = s.laddr_position + 1
        if at >= count:
            at = 0
        s.laddr_position = at
        number = ids.id[at]
        a = Laddr(w.laddrs + number * LADDR_SIZE)
        if a.present == 0 or a.address == 0:
            continue
        stats = w.laddr_stats + number * LADDR_STATS_SIZE
        replica = replica_of(a.ptr, d.address, dport)
        port = take_port(a.ptr, stats, w.rss, replica, d.address, dport, w.worker)
        if port != 0:
            e.laddr = number + 1
            e.replica = replica
            e.side[1].addresses = swap32(d.address) | (swap32(a.address) << 32)
            e.side[1].ports = raw | (swap16(port) << 16) | (s.proto << 32)
            return 0
    return NO_PORT


@compiled
def _fill_sides(ipvs, service, entry, packet, dest):
    """Both tuples of a new connection, by forwarding mode.  0 or a drop reason."""
    e = Entry(entry)
    k = Packet(packet)
    d = Dest(dest)
    e.side[0].addresses = k.addresses
    e.side[0].ports = k.ports
    e.laddr = 0
    e.replica = 0
    if d.mode == MODE_FULLNAT:
        return _take_local(ipvs, service, entry, dest)
    if d.mode == MODE_DR:
        # Nothing is rewritten: the way out equals the way in.
        e.side[1].addresses = swap_halves(k.addresses)
        e.side[1].ports = swap_ports(k.ports)
        return 0
    if d.mode == MODE_TUNNEL:
        # The outer header's addresses; resolve enters ours.
        e.side[1].addresses = swap32(d.address)
        e.side[1].ports = swap_ports(k.ports)
        return 0
    client = k.addresses & 0xFFFFFFFF
    e.side[1].addresses = swap32(d.address) | (client << 32)
    proto = k.ports & ~0xFFFFFFFF
    e.side[1].ports = server_port(entry, dest) | ((k.ports & 0xFFFF) << 16) | proto
    return 0


@compiled
def side1_taken(ipvs, entry):
    """1 when another connection already receives what this one would on side 1."""
    w = Ipvs(ipvs)
    e = Entry(entry)
    hashed = tuple_hash(w.index + SEED_AT, e.side[1].addresses, e.side[1].ports)
    bucket = home(w.index, hashed)
    found = find(w.index, bucket, tag_of(hashed), e.side[1].addresses, e.side[1].ports)
    return 1 if found != 0 else 0


@compiled
def create_4in6(ipvs, service, packet, number):
    """New connection of an IPv4 service whose real server ``number`` is at the IPv6 end of a
    tunnel; its reference, or minus a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    d = Dest(w.dests + number * DEST_SIZE)
    if d.mode != MODE_TUNNEL:
        return -NO_DEST
    slot = take_pair(w.table)
    if slot == 0:
        return -CONN_FULL
    e = Entry(entry_of(w.table, slot))
    e.side[0].addresses = k.addresses
    e.side[0].ports = k.ports
    e.side[1].addresses = 0
    e.side[1].ports = swap_ports(k.ports) | SIX
    e.laddr = 0
    e.replica = 0
    # The outer header's addresses; resolve enters ours.
    outer = Wide(e.ptr + WIDE_AT).side[1]
    outer.src_high = d.high
    outer.src_low = d.low
    return begin(ipvs, service, slot, number, WIDE | ONE_SIDED | SPECIAL, S_TUNNEL)


@inlined
def is_two_sided(mode):
    """1 when replies come back through us."""
    return 1 if mode != MODE_DR and mode != MODE_TUNNEL else 0


@inlined
def clashes(ipvs, entry, mode):
    """1 when another connection's replies could not be told from those of this one."""
    if is_two_sided(mode) == 0 or mode == MODE_FULLNAT:
        return 0
    return side1_taken(ipvs, entry)


@inlined
def complete(ipvs, service, slot, number, flags, special):
    """Begin a connection whose sides are filled in; ``flags`` and ``special`` so far."""
    w = Ipvs(ipvs)
    mode = Dest(w.dests + number * DEST_SIZE).mode
    if mode == MODE_TUNNEL:
        special = special | S_TUNNEL
    if Service(service).proto == PROTO_SCTP:
        special = special | S_SCTP
    if mode == MODE_FULLNAT:
        special = special | prepare(ipvs, service, entry_of(w.table, slot))
    flags = flags | (HASHED1 if is_two_sided(mode) else ONE_SIDED)
    if special:
        flags = flags | SPECIAL
    return begin(ipvs, service, slot, number, flags, special)


@compiled
def create(ipvs, service, packet):
    """New connection of ``service`` for the packet.

    Returns its reference (side 0), or minus a drop reason.  Nothing is left behind on failure.
    """
    w = Ipvs(ipvs)
    number = choose(ipvs, service, packet)
    if number < 0:
        return number
    dest = w.dests + number * DEST_SIZE
    if Dest(dest).wide:
        return create_4in6(ipvs, service, packet, number)
    slot = take_entry(w.table)
    if slot == 0:
        return -CONN_FULL
    entry = entry_of(w.table, slot)
    reason = _fill_sides(ipvs, service, entry, packet, dest)
    if reason == 0 and clashes(ipvs, entry, Dest(dest).mode):
        reason = CONN_CLASH
    if reason != 0:
        give_entry(w.table, slot)
        return -reason
    set_deltas(entry)
    return complete(ipvs, service, slot, number, 0, 0)


@compiled
def publish_pending(ipvs):
    """Enter the server's sides of the connections this burst opened into the index."""
    w = Ipvs(ipvs)
    for i in range(w.pending_count):
        publish_side(w.table, w.pending[i], 1)
    w.pending_count = 0
    return 0
