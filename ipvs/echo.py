"""ICMP echo through SNAT (RFC 5508): requests of inside hosts and the answers to them."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import DIGEST_CLASH, HANDOVER_LOST
from ipvs.entry import tuple_hash
from ipvs.family import FLAGS_AT, NO_WAY, OURS, PORT, from_us, is_six, to_stack, way_of
from ipvs.handover import hand_over
from ipvs.index import SEED_AT, find, home, tag_of
from ipvs.laddr import owner_shift
from ipvs.outward import forward_outward
from ipvs.rules import Rules, find_rule
from ipvs.snat import open_outwards
from ipvs.table import entry_of
from ipvs.wide_entry import SIX, digest, is_between
from runtime.intrinsics import load8, load16, load64
from runtime.jit import compiled
from stack.drops import IP_LOOP
from stack.headers import ETHER_LEN, IP6_SRC, PROTO_ICMP, PROTO_ICMP6
from stack.icmp import ECHO, ECHO_REPLY
from stack.icmp6 import ECHO6, ECHO_REPLY6
from stack.route import SAPOOL

NO_ECHO, REQUEST, REPLY = 0, 1, 2


@compiled
def echo_of(icmp, length, six):
    """REQUEST or REPLY for a whole echo message of ICMP (``six``: ICMPv6), else NO_ECHO."""
    if length < 8 or load8(icmp + 1) != 0:
        return NO_ECHO
    kind = load8(icmp)
    if kind == (ECHO6 if six else ECHO):
        return REQUEST
    return REPLY if kind == (ECHO_REPLY6 if six else ECHO_REPLY) else NO_ECHO


@compiled
def echo_ports(icmp, six):
    """What stands for the ports of an echo: the identifier at the asker's end (all raw)."""
    identifier = load16(icmp + 4)
    word = identifier if echo_of(icmp, 8, six) == REQUEST else identifier << 16
    return word | ((PROTO_ICMP6 << 32) | SIX if six else PROTO_ICMP << 32)


@compiled
def note_echo(ipvs, packet, icmp):
    """Fill in what a lookup needs of an echo: what stands for its tuple, hash."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    six = is_six(l3)
    seed = w.index + SEED_AT
    k.addresses = digest(seed, l3 + IP6_SRC) if six else load64(l3 + 12)
    k.ports = echo_ports(icmp, six)
    hashed = tuple_hash(seed, k.addresses, k.ports)
    k.tag = tag_of(hashed)
    k.bucket = home(w.index, hashed)
    return 0


@compiled
def note_first_echo(ipvs, packet, icmp, length):
    """Note a first fragment with ``length`` bytes of ICMP; ``icmp``, 0 when it is no echo."""
    if echo_of(icmp, length, is_six(Packet(packet).data + ETHER_LEN)) == NO_ECHO:
        return 0
    note_echo(ipvs, packet, icmp)
    return icmp


@compiled
def may_concern(ipvs, l3):
    """1 for an ICMP packet that an inside host may have sent, or that is for an outside address.

    Without any match service we are a router, which asks nothing of a fragment but its way.
    """
    if Rules(Ipvs(ipvs).rules).count == 0:
        return 0
    way = way_of(ipvs, l3)
    if way == NO_WAY:
        return 0
    return 1 if way & OURS == 0 or (way >> FLAGS_AT) & SAPOOL else 0


@compiled
def _named_by(ipvs, icmp):
    """Worker that the identifier of an answer names; this one when it names none."""
    w = Ipvs(ipvs)
    identifier = (load8(icmp + 4) << 8) | load8(icmp + 5)
    owner = identifier & ((1 << owner_shift(w.workers)) - 1)
    return owner if owner < w.workers else w.worker


@compiled
def receive_unknown(ipvs, packet, handed, icmp, kind):
    """An echo of no connection: one to open, an answer for another worker, or the stack's.

    0 or a drop reason.
    """
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    way = way_of(ipvs, l3)
    if way != NO_WAY and way & OURS:
        if kind == REPLY and (way >> FLAGS_AT) & SAPOOL:
            if handed:
                return HANDOVER_LOST
            owner = _named_by(ipvs, icmp)
            if owner != w.worker:
                return hand_over(ipvs, k.mbuf, owner)
        return to_stack(ipvs, packet)
    if kind == REPLY or way == NO_WAY:
        return to_stack(ipvs, packet)
    service = find_rule(ipvs, packet, way & PORT, 0, 0)
    if service == 0:
        return to_stack(ipvs, packet)
    if from_us(ipvs, l3):
        return IP_LOOP
    reference = open_outwards(ipvs, service, packet)
    if reference < 0:
        return -reference
    return forward_outward(ipvs, packet, reference, icmp)


@compiled
def receive_echo(ipvs, packet, handed, icmp, kind):
    """A checked echo, REQUEST or REPLY, its header at ``icmp``; 0 or a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    note_echo(ipvs, packet, icmp)
    reference = find(w.index, k.bucket, k.tag, k.addresses, k.ports)
    if reference == 0:
        return receive_unknown(ipvs, packet, handed, icmp, kind)
    if is_six(l3) and is_between(l3, entry_of(w.table, reference >> 1), reference & 1) == 0:
        return DIGEST_CLASH
    return forward_outward(ipvs, packet, reference, icmp)
