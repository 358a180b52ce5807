"""ARP (RFC 826, RFC 5227 announcements): answer, learn, ask, age.  Compiled."""

from __future__ import annotations

from netdev.abi import HEADROOM, Mbuf
from netdev.mbuf import allocate, data_of, set_length
from netdev.port import Port, transmit
from runtime.intrinsics import load64, store16, store32, store64
from runtime.jit import compiled
from stack.context import Stack
from stack.drops import (
    ARP_DONE,
    ARP_FORMAT,
    ARP_SENDER,
    ARP_SHORT,
    ARP_TARGET,
    ETH_OTHERHOST,
    NEIGH_FULL,
    NO_MBUF,
)
from stack.events import ADDRESS_CONFLICT, NEIGHBOUR_LEARNT, emit
from stack.headers import ETHER_LEN, Arp
from stack.neigh import (
    Neighbour,
    count_drop,
    find,
    find_or_add,
    learn,
)
from stack.route import GATEWAY, LOCAL, Route, lookup

ARP_LEN = 28
REQUEST = 1
REPLY = 2
MAC_MASK = 0xFFFFFFFFFFFF
BROADCAST = 0xFFFFFFFFFFFF
TELL_EVERY_MS = 200


@compiled
def _write_mac(at, mac):
    store32(at, mac & 0xFFFFFFFF)
    store16(at + 4, mac >> 32)
    return 0


@compiled
def is_local(stack, address, port):
    """1 when ``address`` is configured on port index ``port`` (-1: on any)."""
    found = lookup(Stack(stack).routes, address)
    if found == 0:
        return 0
    r = Route(found)
    if r.kind != LOCAL:
        return 0
    return 1 if (port < 0 or r.port == port) else 0


@compiled
def source_for(stack, address, port):
    """Our address to ask ``address`` from on ``port``: the source of the route to it, or 0."""
    found = lookup(Stack(stack).routes, address)
    if found == 0:
        return 0
    r = Route(found)
    if r.kind == GATEWAY:
        via = lookup(Stack(stack).routes, r.gateway)
        if via != 0 and r.source == 0:
            return Route(via).source
    return r.source


@compiled
def _send(stack, port, op, target_mac, target_ip, sender_ip, to):
    """Transmit one ARP packet to Ethernet address ``to``; 0 or a drop reason."""
    s = Stack(stack)
    mbuf = allocate(s.calls)
    if mbuf == 0:
        count_drop(stack, NO_MBUF)
        return NO_MBUF
    p = Port(s.ports[port])
    Mbuf(mbuf).data_off = HEADROOM
    set_length(mbuf, 60)
    data = data_of(mbuf)
    for k in range(8):
        store64(data + k * 8, 0)
    _write_mac(data, to)
    _write_mac(data + 6, p.mac)
    store16(data + 12, 0x0608)
    arp = Arp(data + ETHER_LEN)
    arp.hardware = 1
    arp.protocol = 0x0800
    arp.hardware_len = 6
    arp.protocol_len = 4
    arp.op = op
    _write_mac(data + 22, p.mac)
    arp.sender_ip = sender_ip
    _write_mac(data + 32, target_mac)
    arp.target_ip = target_ip
    transmit(p.ptr, mbuf)
    return 0


@compiled
def announce(stack, port, address):
    """Gratuitous ARP request for our ``address`` on ``port`` (RFC 5227 section 3)."""
    return _send(stack, port, REQUEST, 0, address, address, BROADCAST)


@compiled
def request(stack, entry):
    """Send an ARP request for a neighbour."""
    n = Neighbour(entry)
    source = source_for(stack, n.address, n.port)
    return _send(stack, n.port, REQUEST, 0, n.address, source, BROADCAST)


@compiled
def _tell(stack, entry, changed):
    """Let the other workers hear of a neighbour (through the master), not too often."""
    s = Stack(stack)
    n = Neighbour(entry)
    if changed == 0 and (s.now - n.told) & 0xFFFFFFFF < TELL_EVERY_MS:
        return 0
    n.told = s.now
    return emit(s.events, NEIGHBOUR_LEARNT, n.address, load64(entry) & MAC_MASK, n.port)


@compiled
def _valid(stack, data, length, port):
    """0 when the ARP packet at ``data`` is well-formed and its sender believable."""
    ours = Port(Stack(stack).ports[port]).mac
    dst = load64(data) & MAC_MASK
    if dst & 1 == 0 and dst != ours:
        return ETH_OTHERHOST
    if length < ETHER_LEN + ARP_LEN:
        return ARP_SHORT
    arp = Arp(data + ETHER_LEN)
    if arp.hardware != 1 or arp.protocol != 0x0800:
        return ARP_FORMAT
    if arp.hardware_len != 6 or arp.protocol_len != 4 or arp.op < REQUEST or arp.op > REPLY:
        return ARP_FORMAT
    mac = load64(data + 22) & MAC_MASK
    if mac == 0 or mac & 1 or mac == ours:
        return ARP_SENDER
    first = arp.sender_ip >> 24
    if first == 127 or first >= 224:
        return ARP_SENDER
    return 0


@compiled
def _reply(stack, mbuf, data, port):
    """Turn a request for our address into the reply, in place."""
    p = Port(Stack(stack).ports[port])
    arp = Arp(data + ETHER_LEN)
    asked = arp.target_ip
    requester = load64(data + 22) & MAC_MASK
    _write_mac(data, requester)
    _write_mac(data + 6, p.mac)
    arp.op = REPLY
    _write_mac(data + 32, requester)
    arp.target_ip = arp.sender_ip
    _write_mac(data + 22, p.mac)
    arp.sender_ip = asked
    transmit(p.ptr, mbuf)
    return 0


@compiled
def receive_arp(stack, mbuf, data, length, port):
    """Process one ARP frame that arrived on ``port``; 0 (reply sent) or a drop reason.

    RFC 826: a known sender is updated whatever the target; an unknown one is added only when the
    packet is for us.
    """
    s = Stack(stack)
    reason = _valid(stack, data, length, port)
    if reason != 0:
        return reason
    arp = Arp(data + ETHER_LEN)
    sender = arp.sender_ip
    mac = load64(data + 22) & MAC_MASK
    ours = is_local(stack, arp.target_ip, port)
    if sender != 0 and is_local(stack, sender, -1):
        emit(s.events, ADDRESS_CONFLICT, sender, mac, port)
        return ARP_SENDER
    if sender != 0:
        entry = find(s.neighbours, port, sender)
        if entry == 0 and ours:
            entry = find_or_add(stack, port, sender)
            if entry == 0:
                count_drop(stack, NEIGH_FULL)
        if entry != 0:
            changed = learn(stack, entry, mac)
            if changed or arp.op == REPLY:
                _tell(stack, entry, changed)
    if arp.op == REQUEST and ours:
        return _reply(stack, mbuf, data, port)
    return ARP_DONE if ours or arp.op == REPLY or sender == arp.target_ip else ARP_TARGET
