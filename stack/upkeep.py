"""Upkeep of neighbours of both families: ask, age, and send what must wait for an answer."""

from __future__ import annotations

from netdev.abi import Mbuf
from netdev.mbuf import data_of
from runtime.jit import compiled
from stack.arp import request
from stack.context import Stack
from stack.dad import age_dad
from stack.icmp import HOST_UNREACHABLE, UNREACHABLE, send_error
from stack.icmp6 import ADDRESS_UNREACHABLE, UNREACHABLE6, send_error6
from stack.mld import age_mld
from stack.nd_send import solicit
from stack.neigh import (
    DELAY,
    DELAY_MS,
    FORWARDED,
    NONE,
    PROBE,
    PROBE_MS,
    REACHABLE,
    SEND,
    SEND_GIVE_UP_MS,
    SEND_RETRY_MS,
    SILENCE_MS,
    USABLE,
    Neighbour,
    NeighbourTable,
    enqueue,
    entry_at,
    release_queue,
    send_to,
)


@compiled
def ask(stack, entry):
    """Ask for a neighbour, by ARP or neighbour discovery, at most once per SEND_RETRY_MS."""
    s = Stack(stack)
    n = Neighbour(entry)
    if (s.now - n.asked) & 0xFFFFFFFF < SEND_RETRY_MS:
        return 0
    n.asked = s.now
    if n.ipv6:
        return solicit(stack, entry)
    return request(stack, entry)


@compiled
def output(stack, entry, mbuf):
    """Send a packet to a neighbour, resolving it first if need be; 0 or a drop reason."""
    n = Neighbour(entry)
    if n.state >= USABLE:
        send_to(stack, entry, mbuf)
        return 0
    verdict = enqueue(stack, entry, mbuf)
    n.used = Stack(stack).now
    if n.state == NONE:
        n.state = SEND
        n.since = Stack(stack).now
    ask(stack, entry)
    return verdict


@compiled
def _tell_unreachable(stack, mbuf, six):
    """Tell the senders of forwarded packets, chained from ``mbuf``, that their next hop does not
    answer (RFC 1812 4.3.3.1, RFC 4861 7.2.2).  What was rewritten or is ours is nobody's to hear
    of."""
    while mbuf != 0:
        m = Mbuf(mbuf)
        if m.packet_type == FORWARDED:
            if six:
                send_error6(stack, mbuf, data_of(mbuf), UNREACHABLE6, ADDRESS_UNREACHABLE, 0)
            else:
                send_error(stack, mbuf, data_of(mbuf), UNREACHABLE, HOST_UNREACHABLE, 0)
        mbuf = m.tx_offload
    return 0


@compiled
def _age_one(stack, entry):
    s = Stack(stack)
    t = NeighbourTable(s.neighbours)
    n = Neighbour(entry)
    now = s.now
    age = (now - n.since) & 0xFFFFFFFF
    if n.state == SEND:
        if age >= SEND_GIVE_UP_MS:
            _tell_unreachable(stack, n.queue, n.ipv6)
            release_queue(stack, entry, 0)
            n.state = NONE
            n.since = now
        else:
            ask(stack, entry)
    elif n.state == REACHABLE:
        quiet = (now - n.confirmed) & 0xFFFFFFFF
        idle = (now - n.used) & 0xFFFFFFFF
        if quiet >= SILENCE_MS and idle < SILENCE_MS:
            n.state = DELAY
            n.since = now
            ask(stack, entry)
        elif quiet >= t.reachable_ms:
            n.state = PROBE
            n.since = now
    elif n.state == PROBE:
        if (now - n.used) & 0xFFFFFFFF < SILENCE_MS:
            n.state = DELAY
            n.since = now
            ask(stack, entry)
        elif age >= PROBE_MS:
            n.state = NONE
            n.since = now
    elif n.state == DELAY:
        if (now - n.confirmed) & 0xFFFFFFFF < SILENCE_MS and age > 0:
            n.state = REACHABLE
            n.since = now
        elif age >= DELAY_MS:
            n.state = NONE
            n.since = now
        else:
            ask(stack, entry)
    return 0


@compiled
def age(stack, budget):
    """Look after up to ``budget`` neighbours; called a few hundred times a second at most."""
    s = Stack(stack)
    t = NeighbourTable(s.neighbours)
    age_dad(stack)
    age_mld(stack)
    t.no_victim = 0
    count = t.count
    if count > budget:
        count = budget
    for _ in range(count):
        if t.cursor >= t.count:
            t.cursor = 0
        entry = entry_at(s.neighbours, t.cursor)
        t.cursor += 1
        if Neighbour(entry).permanent == 0 and Neighbour(entry).state != NONE:
            _age_one(stack, entry)
    return 0
