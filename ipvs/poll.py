"""The way of a burst of packets, top to bottom.

    receive -> classify -> look up -> [known: rewrite | new: schedule | stack] -> transmit

Each stage runs over the whole burst before the next begins, so that the memory one stage will
need was prefetched by the one before.
"""

from __future__ import annotations

from ipvs.classify import COMMON, classify
from ipvs.classify6 import COMMON6, HEADER6
from ipvs.context import MBUFS_AT, PACKET_SIZE, PACKETS_AT, Ipvs, Packet
from ipvs.create import publish_pending
from ipvs.entry import ENTRY_SIZE, SPECIAL, SPECIAL_AT, Entry
from ipvs.index import candidate
from ipvs.known import forward_at_once
from ipvs.miss import miss
from ipvs.miss6 import miss6
from ipvs.slow import receive_slow
from ipvs.stages import CLASSIFY, HANDLE, LOOK_UP, RECEIVE, begin, lap
from ipvs.table import Table
from ipvs.wide import forward_wide
from ipvs.wide_entry import WIDE_AT
from netdev.abi import Mbuf
from netdev.port import BURST, Port, receive
from runtime.intrinsics import load64, prefetch, prefetch_write
from runtime.jit import compiled, inlined
from runtime.pointer_ring import dequeue_burst
from stack.context import Stack
from stack.headers import ETHER_LEN
from stack.neigh import drop


@inlined
def look_up(ipvs, count):
    """Second stage: first matching reference of each packet; its entry is prefetched.

    The second line of an entry is needed where a rewrite is not enough; which ones do, the first
    lines tell, that are on their way by then.
    """
    w = Ipvs(ipvs)
    entries = Table(w.table).entries
    for i in range(count):
        k = Packet(ipvs + PACKETS_AT + i * PACKET_SIZE)
        if k.kind == COMMON:
            reference = candidate(k.bucket, k.tag)
            k.reference = reference
            prefetch_write(entries + (reference >> 1) * ENTRY_SIZE)
        elif k.kind == COMMON6:
            reference = candidate(k.bucket, k.tag)
            k.reference = reference
            at = entries + (reference >> 1) * ENTRY_SIZE
            prefetch_write(at)
            prefetch(at + WIDE_AT)
    for i in range(count):
        k = Packet(ipvs + PACKETS_AT + i * PACKET_SIZE)
        at = entries + (k.reference >> 1) * ENTRY_SIZE
        if k.reference != 0 and Entry(at).flags & SPECIAL:
            prefetch(at + SPECIAL_AT)
    return 0


@inlined
def matches(table, packet, reference):
    """1 when the entry behind ``reference`` really is the packet's."""
    k = Packet(packet)
    at = Table(table).entries + (reference >> 1) * ENTRY_SIZE + (reference & 1) * 16
    return 1 if (load64(at) == k.addresses and load64(at + 8) == k.ports) else 0


@compiled
def handle(ipvs, count, handed):
    """Third stage, in order of arrival: forward, open, answer or drop each packet."""
    w = Ipvs(ipvs)
    for i in range(count):
        packet = ipvs + PACKETS_AT + i * PACKET_SIZE
        k = Packet(packet)
        if k.kind == COMMON:
            if k.reference != 0 and matches(w.table, packet, k.reference):
                reason = forward_at_once(ipvs, packet, k.reference, k.data + ETHER_LEN + 20)
            else:
                reason = miss(ipvs, packet, handed, k.data + ETHER_LEN + 20)
        elif k.kind == COMMON6:
            if k.reference != 0 and matches(w.table, packet, k.reference):
                reason = forward_wide(ipvs, packet, k.reference, k.data + ETHER_LEN + HEADER6)
            else:
                reason = miss6(ipvs, packet, handed, k.data + ETHER_LEN + HEADER6)
        else:
            reason = receive_slow(ipvs, packet, handed)
        if reason != 0:
            drop(w.stack, k.mbuf, reason)
    if w.pending_count != 0:
        publish_pending(ipvs)
    return 0


@compiled
def process(ipvs, count, handed):
    """A burst whose mbufs lie in the context's ``mbufs`` array."""
    at = begin(ipvs)
    classify(ipvs, count)
    at = lap(ipvs, CLASSIFY, at)
    look_up(ipvs, count)
    at = lap(ipvs, LOOK_UP, at)
    handle(ipvs, count, handed)
    if at != 0:
        lap(ipvs, HANDLE, at)
        Ipvs(ipvs).stage_packets += count
    return 0


@inlined
def mark_port(ipvs, count, index):
    """Note the receiving port (our numbering) in each mbuf and prefetch the headers."""
    total = 0
    for i in range(count):
        mbuf = load64(ipvs + MBUFS_AT + i * 8)
        m = Mbuf(mbuf)
        m.port = index
        total += m.pkt_len
        prefetch(m.buf_addr + m.data_off)
    return total


@compiled
def poll_ports(ipvs):
    """Receive and process one burst of every rx queue of this worker; returns packets."""
    w = Ipvs(ipvs)
    s = Stack(w.stack)
    total = 0
    for index in range(s.port_count):
        port = s.ports[index]
        p = Port(port)
        if p.rx_queue >= 0 and p.up:
            at = begin(ipvs)
            count = receive(port, ipvs + MBUFS_AT)
            w.polls += 1
            if count > 0:
                p.rx_packets += count
                p.rx_bytes += mark_port(ipvs, count, index)
                lap(ipvs, RECEIVE, at)
                process(ipvs, count, 0)
                total += count
                w.half_polls += 1 if count > BURST // 2 else 0
                w.full_polls += 1 if count == BURST else 0
            else:
                w.empty_polls += 1
    return total


@compiled
def poll_rings(ipvs):
    """Process what other workers handed over; returns packets."""
    w = Ipvs(ipvs)
    total = 0
    for source in range(w.workers):
        ring = w.in_rings[source]
        if ring != 0:
            count = dequeue_burst(ring, ipvs + MBUFS_AT, BURST)
            if count > 0:
                process(ipvs, count, 1)
                w.handed_in += count
                total += count
    return total
