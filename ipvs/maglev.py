"""mh: Maglev hashing (Eisenbud et al., NSDI 2016) with the hash and table of the reference.

The table (ipvs/maglev_table.py) names a real server for each of 4093 hash values.  Every worker,
and every other balancer with the same real servers, finds the same server for a client without
having heard of it before.
"""

from __future__ import annotations

import ctypes

from ipvs.dest import usable
from ipvs.extra import MH_FALLBACK, MH_PORT, Extra
from ipvs.service import Service
from runtime.intrinsics import plus, shr, signed, wrap
from runtime.jit import compiled, inlined
from runtime.pointers import view

SLOTS = 4093
KEY_PLACE = 2654435761
KEY_STEP = 2654446892
SIP0, SIP1 = 0x736F6D6570736575, 0x646F72616E646F6D
SIP2, SIP3 = 0x6C7967656E657261, 0x7465646279746573
SIP_LENGTH = signed(4 << 56)  # of the message, in the last block


class MaglevStruct(ctypes.Structure):
    """``id`` is real server id + 1, 0 where the service has no server to name."""

    _fields_ = [("size", ctypes.c_uint32), ("id", ctypes.c_uint16 * SLOTS)]


Maglev = view(MaglevStruct)


@inlined
def _rotate(value, bits):
    return wrap(value << bits) | shr(value, 64 - bits)


@compiled
def sip13(number, key):
    """SipHash-1-3 of a 32-bit number under the 128-bit key (key, key), folded to 32 bits."""
    block = number | SIP_LENGTH
    v0 = SIP0 ^ key
    v1 = SIP1 ^ key
    v2 = SIP2 ^ key
    v3 = SIP3 ^ key ^ block
    for step in range(4):
        v0 = plus(v0, v1)
        v1 = _rotate(v1, 13) ^ v0
        v0 = _rotate(v0, 32)
        v2 = plus(v2, v3)
        v3 = _rotate(v3, 16) ^ v2
        v0 = plus(v0, v3)
        v3 = _rotate(v3, 21) ^ v0
        v2 = plus(v2, v1)
        v1 = _rotate(v1, 17) ^ v2
        v2 = _rotate(v2, 32)
        if step == 0:
            v0 = v0 ^ block
            v2 = v2 ^ 0xFF
    return (v0 ^ v1 ^ v2 ^ v3) & 0xFFFFFFFF


@compiled
def fold(source):
    """The 64-bit source key as the 32 bits the reference hashes: IPv4 address or IPv6 words."""
    return (source ^ (source >> 32)) & 0xFFFFFFFF


@compiled
def swapped(raw):
    """Byte order of a 32-bit number turned around."""
    low = ((raw & 0xFF) << 24) | ((raw & 0xFF00) << 8)
    return low | ((raw >> 8) & 0xFF00) | ((raw >> 24) & 0xFF)


@compiled
def maglev(service, dests, source, sport):
    """Real server id for a source key (raw) and source port, or -1."""
    extra = Extra(Service(service).extra)
    if extra.table == 0:
        return -1
    table = Maglev(extra.table)
    number = swapped(fold(source))
    if extra.flags & MH_PORT:
        number += sport
    slot = sip13(number & 0xFFFFFFFF, KEY_PLACE) % SLOTS
    chosen = table.id[slot] - 1
    if chosen >= 0 and usable(dests, chosen):
        return chosen
    if extra.flags & MH_FALLBACK == 0:
        return -1
    for offset in range(SLOTS):
        further = (number + (offset + slot) % SLOTS) & 0xFFFFFFFF
        chosen = table.id[sip13(further, KEY_PLACE) % SLOTS] - 1
        if chosen >= 0 and usable(dests, chosen):
            return chosen
    return -1
