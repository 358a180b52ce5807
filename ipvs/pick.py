"""What a scheduler chooses for the first packet of a connection."""

from __future__ import annotations

from ipvs.context import Ipvs, Packet
from ipvs.drops import NO_DEST, SCHED_FAULT
from ipvs.schedulers import schedule
from ipvs.user_call import FAULT
from runtime.intrinsics import load8, load64
from runtime.jit import compiled
from stack.context import Stack
from stack.headers import ETHER_LEN

IPV6_SIDE = 1 << 40  # in Packet.ports: the tuple is one of IPv6 addresses
IPV6_LEN = 40


@compiled
def source_key(packet):
    """The client's address as 64 bits: an IPv4 address raw, an IPv6 address's halves XORed.

    Both fold to the 32 bits that the reference hashes.
    """
    k = Packet(packet)
    if k.ports & IPV6_SIDE:
        return load64(k.data + ETHER_LEN + 8) ^ load64(k.data + ETHER_LEN + 16)
    return k.addresses & 0xFFFFFFFF


@compiled
def l4_of(packet):
    """Address of the packet's L4 header; 0 when extension headers stand before it."""
    k = Packet(packet)
    l3 = k.data + ETHER_LEN
    if k.ports & IPV6_SIDE:
        return l3 + IPV6_LEN if load8(l3 + 6) == (k.ports >> 32) & 0xFF else 0
    return l3 + (load8(l3) & 15) * 4


@compiled
def pick(ipvs, service, packet):
    """Id of the real server that the service's scheduler chooses, or minus a drop reason."""
    w = Ipvs(ipvs)
    k = Packet(packet)
    now = Stack(w.stack).now
    number = schedule(
        service, w.dests, w.dest_stats, source_key(packet), k.ports, l4_of(packet), now
    )
    if number >= 0:
        return number
    return -SCHED_FAULT if number == FAULT else -NO_DEST
