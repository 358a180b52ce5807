"""Neighbour discovery messages we receive (RFC 4861): answer, learn, notice duplicates."""

from __future__ import annotations

from netdev.abi import Mbuf
from netdev.port import Port
from runtime.intrinsics import load8, load64, store64
from runtime.jit import compiled
from stack.address6 import (
    MULTICAST_LINK_HIGH,
    SOLICITED_LOW,
    SOLICITED_MASK,
    is_multicast6,
    is_unspecified6,
)
from stack.context import Stack
from stack.dad import duplicate, find_tentative
from stack.drops import NEIGH_FULL
from stack.drops6 import ND_DONE, ND_FORMAT, ND_HOP_LIMIT, ND_SENDER, ND_TARGET
from stack.events import ADDRESS6_CONFLICT, NEIGHBOUR6_LEARNT, emit
from stack.headers import ETHER_LEN, IP6_DST, IP6_LEN, IP6_SRC, Icmp, Ipv6
from stack.local6 import local6
from stack.nd_send import (
    MAC_MASK,
    ND_HOPS,
    OVERRIDE,
    SOLICITATION,
    SOLICITED,
    SOURCE_MAC_OPTION,
    TARGET_MAC_OPTION,
    advertise,
    answer,
)
from stack.neigh import PROBE, REACHABLE, USABLE, Neighbour, count_drop, learn
from stack.neigh6 import address6_at, find6, find_or_add6

TELL_EVERY_MS = 200
MALFORMED = -1


@compiled
def find_option(at, end, wanted):
    """Address of the first option of a kind, 0 without one, MALFORMED when the options lie about
    their lengths (RFC 4861 4.6)."""
    found = 0
    while at < end:
        if at + 8 > end:
            return MALFORMED
        size = load8(at + 1) * 8
        if size == 0 or at + size > end:
            return MALFORMED
        if load8(at) == wanted and found == 0:
            found = at
        at += size
    return found


@compiled
def _tell(stack, entry, changed):
    """Let the other workers hear of a neighbour (through the master), not too often."""
    s = Stack(stack)
    n = Neighbour(entry)
    if changed == 0 and (s.now - n.told) & 0xFFFFFFFF < TELL_EVERY_MS:
        return 0
    n.told = s.now
    at = address6_at(s.neighbours, entry)
    place = (load64(entry) & MAC_MASK) | (n.port << 48)
    return emit(s.events, NEIGHBOUR6_LEARNT, load64(at), load64(at + 8), place)


@compiled
def _claimed(stack, port, high, low, mac):
    """Somebody else (``mac``) uses an address of ours: the end of one in check, else an alarm."""
    slot = find_tentative(stack, port, high, low)
    if slot != 0:
        duplicate(stack, slot, mac)
    else:
        emit(Stack(stack).events, ADDRESS6_CONFLICT, high, low, mac | (port << 48))
    return ND_SENDER


@compiled
def _probed(stack, l3, port, mac, option):
    """A host without an address yet checks whether the target is free (RFC 4862 5.4.3)."""
    low = load64(l3 + IP6_DST + 8)
    if load64(l3 + IP6_DST) != MULTICAST_LINK_HIGH or low & SOLICITED_MASK != SOLICITED_LOW:
        return ND_FORMAT
    if option != 0:
        return ND_FORMAT
    target = load64(l3 + IP6_LEN + 8)
    target_low = load64(l3 + IP6_LEN + 16)
    # A tentative address comes before its route: the answer to our probe may be quicker.
    if find_tentative(stack, port, target, target_low):
        return _claimed(stack, port, target, target_low, mac)
    if local6(stack, target, target_low, port) == 0:
        return ND_TARGET
    advertise(stack, port, target, target_low, OVERRIDE)
    return ND_DONE


@compiled
def _solicitation(stack, l3, port, sender, option):
    """Who has the target?  We answer for our own addresses on the port, and learn who asks.

    ``sender``: MAC the frame came from; ``option``: its source link-layer address, or 0.
    """
    high = load64(l3 + IP6_SRC)
    low = load64(l3 + IP6_SRC + 8)
    if is_unspecified6(high, low):
        return _probed(stack, l3, port, sender, option)
    target = load64(l3 + IP6_LEN + 8)
    target_low = load64(l3 + IP6_LEN + 16)
    if local6(stack, target, target_low, port) == 0:
        return ND_TARGET
    if local6(stack, high, low, -1):
        return _claimed(stack, port, high, low, sender)
    mac = sender
    if option != 0:
        mac = load64(option + 2) & MAC_MASK
        if mac == 0 or mac & 1 or mac == Port(Stack(stack).ports[port]).mac:
            return ND_FORMAT
        entry = find_or_add6(stack, port, high, low)
        if entry == 0:
            count_drop(stack, NEIGH_FULL)
        elif learn(stack, entry, mac):
            _tell(stack, entry, 1)
    flags = 0 if find_tentative(stack, port, target, target_low) else OVERRIDE
    answer(stack, port, l3, mac, flags)
    return ND_DONE


@compiled
def _adopt(stack, entry, mac, flags):
    """What an advertisement changes in a neighbour entry (RFC 4861 7.2.5); ``mac`` 0: none given.

    Returns 1 when the others should hear of it.
    """
    n = Neighbour(entry)
    known = load64(entry) & MAC_MASK
    if n.permanent:
        return 0
    if n.state < USABLE:
        if mac == 0:
            return 0
        learn(stack, entry, mac)
        if flags & SOLICITED == 0:
            n.state = PROBE
        return 1
    if mac != 0 and mac != known:
        if flags & OVERRIDE == 0:
            if n.state == REACHABLE:
                n.state = PROBE
            return 0
        if flags & SOLICITED:
            return learn(stack, entry, mac)
        store64(entry, mac | (load64(entry) & ~MAC_MASK))
        n.state = PROBE
        n.since = Stack(stack).now
        return 1
    if flags & SOLICITED:
        learn(stack, entry, known)
    return 0


@compiled
def _advertisement(stack, l3, port, sender, option):
    """A neighbour tells its MAC; that it is alive too, when it was asked (flag SOLICITED)."""
    flags = Icmp(l3 + IP6_LEN).rest
    if is_multicast6(load64(l3 + IP6_DST)) and flags & SOLICITED:
        return ND_FORMAT
    high = load64(l3 + IP6_LEN + 8)
    low = load64(l3 + IP6_LEN + 16)
    if find_tentative(stack, port, high, low) or local6(stack, high, low, port):
        return _claimed(stack, port, high, low, sender)
    mac = 0
    if option != 0:
        mac = load64(option + 2) & MAC_MASK
        if mac == 0 or mac & 1 or mac == Port(Stack(stack).ports[port]).mac:
            return ND_FORMAT
    entry = find6(Stack(stack).neighbours, port, high, low)
    if entry == 0 and mac != 0 and flags & SOLICITED and Stack(stack).workers > 1:
        # RFC 4861 7.2.5 has answers nobody asked for discarded, but here another worker may have
        # asked: the answer comes to whichever queue the card chooses.
        entry = find_or_add6(stack, port, high, low)
        if entry == 0:
            count_drop(stack, NEIGH_FULL)
    if entry != 0:
        changed = _adopt(stack, entry, mac, flags)
        if changed or (flags & SOLICITED and Neighbour(entry).state == REACHABLE):
            _tell(stack, entry, changed)
    return ND_DONE


@compiled
def receive_nd(stack, mbuf, data, offset):
    """A solicitation or advertisement, checksum right, ``offset`` bytes behind the IPv6 header.

    All of them end here: returns a drop reason, ND_DONE when all was well.
    """
    l3 = data + ETHER_LEN
    ip = Ipv6(l3)
    icmp = Icmp(l3 + offset)
    if ip.hops != ND_HOPS:
        return ND_HOP_LIMIT
    # Nobody puts extension headers in front of these; it keeps the fields at one place.
    end = l3 + IP6_LEN + ip.payload
    if icmp.code != 0 or offset != IP6_LEN or end < l3 + IP6_LEN + 24:
        return ND_FORMAT
    if is_multicast6(load64(l3 + IP6_LEN + 8)):
        return ND_FORMAT
    port = Mbuf(mbuf).port
    sender = load64(data + 6) & MAC_MASK
    if sender == 0 or sender & 1 or sender == Port(Stack(stack).ports[port]).mac:
        return ND_SENDER
    asks = 1 if icmp.type == SOLICITATION else 0
    wanted = SOURCE_MAC_OPTION if asks else TARGET_MAC_OPTION
    option = find_option(l3 + IP6_LEN + 24, end, wanted)
    if option == MALFORMED:
        return ND_FORMAT
    if asks:
        return _solicitation(stack, l3, port, sender, option)
    return _advertisement(stack, l3, port, sender, option)
