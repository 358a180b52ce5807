"""SNAT: connections that inside hosts open, sent with an address and port of ours (RFC 3022).

The "real servers" of a match service are the addresses that the outside sees.  Side 0 is how the
outside host's packets arrive, side 1 how the inside host's do: as in every other mode, the hosts
we stand in front of are on side 1.  Ports come from the pool of the outside address
(ipvs/laddr.py), so the outside host's packets return to this worker and no two connections share a
tuple.  An ICMP echo has its identifier in place of the inside port and none outside (RFC 5508 3.1).
"""

from __future__ import annotations

from ipvs.begin import begin
from ipvs.choose import choose
from ipvs.context import Ipvs, Packet
from ipvs.create import set_deltas, swap16, swap32, words_of_ports
from ipvs.dest import DEST_SIZE, Dest
from ipvs.drops import CONN_CLASH, CONN_FULL, NO_LADDR, NO_PORT
from ipvs.entry import HASHED1, S_SNAT, SPECIAL, Entry, tuple_hash
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.laddr import (
    LADDR_SIZE,
    LADDR_STATS_SIZE,
    Laddr,
    give_port,
    replica_of,
    take_identifier,
    take_port,
)
from ipvs.service import find as find_service
from ipvs.table import entry_of, give_entry, take_entry
from runtime.jit import compiled
from stack.checksum import difference
from stack.headers import PROTO_ICMP, PROTO_TCP

TRIES = 8  # ports looked at when something else already uses the tuple


@compiled
def _side0_taken(ipvs, entry, address, port, proto):
    """1 when what would arrive on side 0 is somebody else's: a connection's or a service's."""
    w = Ipvs(ipvs)
    e = Entry(entry)
    if find_service(w.services, address, port, proto) != 0:
        return 1
    hashed = tuple_hash(w.index + SEED_AT, e.side[0].addresses, e.side[0].ports)
    bucket = home(w.index, hashed)
    found = find(w.index, bucket, tag_of(hashed), e.side[0].addresses, e.side[0].ports)
    return 1 if found != 0 else 0


@compiled
def _take_outside(ipvs, entry, packet, dest):
    """Choose the port (or identifier) the outside sees and fill both sides; 0 or a reason."""
    w = Ipvs(ipvs)
    e = Entry(entry)
    k = Packet(packet)
    number = Dest(dest).pool - 1
    a = Laddr(w.laddrs + number * LADDR_SIZE)
    if number < 0 or a.present == 0 or a.address == 0:
        return NO_LADDR
    stats = w.laddr_stats + number * LADDR_STATS_SIZE
    proto = k.ports >> 32
    peer = swap32((k.addresses >> 32) & 0xFFFFFFFF)
    far = swap16((k.ports >> 16) & 0xFFFF)
    replica = replica_of(a.ptr, peer, far)
    e.side[1].addresses = k.addresses
    e.side[1].ports = k.ports
    e.side[0].addresses = ((k.addresses >> 32) & 0xFFFFFFFF) | (swap32(a.address) << 32)
    for _ in range(TRIES):
        if proto == PROTO_ICMP:
            port = take_identifier(a.ptr, stats, replica, w.worker, w.workers)
        else:
            port = take_port(a.ptr, stats, w.rss, replica, peer, far, w.worker)
        if port == 0:
            return NO_PORT
        e.side[0].ports = swap16(far) | (swap16(port) << 16) | (proto << 32)
        if _side0_taken(ipvs, entry, a.address, port, proto) == 0:
            e.laddr = number + 1
            e.replica = replica
            return 0
        give_port(a.ptr, stats, replica, port)
    return CONN_CLASH


@compiled
def open_outwards(ipvs, service, packet):
    """New connection of an inside host; its reference (side 1), or minus a drop reason."""
    w = Ipvs(ipvs)
    number = choose(ipvs, service, packet)
    if number < 0:
        return number
    slot = take_entry(w.table)
    if slot == 0:
        return -CONN_FULL
    entry = entry_of(w.table, slot)
    reason = _take_outside(ipvs, entry, packet, w.dests + number * DEST_SIZE)
    if reason != 0:
        give_entry(w.table, slot)
        return -reason
    set_deltas(entry)
    e = Entry(entry)
    proto = e.side[1].ports >> 32
    if proto == PROTO_TCP:
        return begin(ipvs, service, slot, number, HASHED1, 0) + 1
    if proto == PROTO_ICMP:
        # No pseudo header: only the identifier counts.
        before = words_of_ports(e.side[0].ports)
        after = words_of_ports(e.side[1].ports)
        e.forward[0].l4_delta = difference(before, after)
        e.forward[1].l4_delta = difference(after, before)
    return begin(ipvs, service, slot, number, HASHED1 | SPECIAL, S_SNAT) + 1
