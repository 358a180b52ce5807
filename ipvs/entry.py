"""The connection entry: 128 bytes, everything an IPv4 packet needs in the first cache line.

A connection has two sides.  Side 0 is the client's: packets arrive as (caddr, vaddr, cport,
vport).  Side 1 is the real server's: packets arrive as (daddr, laddr, dport, lport).  A packet
that matches one side leaves with the other side's tuple turned around, so FullNAT, NAT and DR are
one and the same rewrite with different numbers in it, in both directions.
"""

from __future__ import annotations

import ctypes

from runtime.intrinsics import load64, mum, wrap
from runtime.jit import inlined
from runtime.pointers import view


class SideStruct(ctypes.Structure):
    """How packets arrive on one side, as raw bytes: addresses, then ports and protocol.

    ``addresses``: source then destination as on the wire.  ``ports``: source, destination, then
    the protocol number in bits 32..39.
    """

    _fields_ = [("addresses", ctypes.c_int64), ("ports", ctypes.c_int64)]


class ForwardStruct(ctypes.Structure):
    """How packets that arrived on one side leave."""

    _fields_ = [
        ("neighbour", ctypes.c_uint16),  # entry number in the neighbour table
        ("generation", ctypes.c_uint16),  # of the routes when it was resolved
        ("l3_delta", ctypes.c_uint16),  # checksum terms, stack/checksum.py:difference
        ("l4_delta", ctypes.c_uint16),
    ]


class EntryStruct(ctypes.Structure):
    """One connection.  ``live`` is written last on creation and first on removal."""

    _fields_ = [
        ("side", SideStruct * 2),
        ("forward", ForwardStruct * 2),
        ("last", ctypes.c_uint32),  # ms of the last packet
        ("timeout", ctypes.c_uint32),  # seconds
        ("dest", ctypes.c_uint16),  # real server id
        ("state", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("live", ctypes.c_uint32),
        # second cache line: creation, expiry, listing
        ("service", ctypes.c_uint16),
        ("laddr", ctypes.c_uint16),  # local address id + 1, 0 = none taken
        ("replica", ctypes.c_uint16),  # of the local address's port pool
        ("mode", ctypes.c_uint8),
        (
            "asked",
            ctypes.c_uint8,
        ),  # how often its ends were asked for their numbers, ipvs/ending.py
        ("created", ctypes.c_uint32),
        ("fixed_timeout", ctypes.c_uint32),  # the service's conn_timeout, 0 = protocol's
        ("armed", ctypes.c_uint32),  # ms the wheel will bring this entry up
        ("special", ctypes.c_uint32),  # S_* bits: what a SPECIAL connection needs
        # the client's address for the server, and sequence numbers: ipvs/handshake.py
        ("syn", ctypes.c_uint32),  # number of the client's last SYN
        ("isn_delta", ctypes.c_uint32),  # added to the client's numbers on the way to the server
        ("first", ctypes.c_uint32),  # of the client's data, as the client counts
        ("fdata", ctypes.c_uint32),  # number of the server's first data
        ("ours", ctypes.c_uint16),  # bytes of the PROXY header in front of the client's data
        ("theirs", ctypes.c_uint16),  # bytes of the client's own that it replaced
        ("marks", ctypes.c_uint8),
        ("proxy", ctypes.c_uint8),  # the service's when the connection began
        ("spare", ctypes.c_uint8 * 2),
        ("uoa_sent", ctypes.c_uint32),
        ("unused", ctypes.c_uint8 * 8),
        ("template", ctypes.c_uint32),  # of persistence: bucket << 5 | slot, plus 1; 0 = none
    ]


Entry = view(EntryStruct)
Side = view(SideStruct)
Forward = view(ForwardStruct)
ENTRY_SIZE = 128
FORWARD_AT = EntryStruct.forward.offset
LIVE_AT = EntryStruct.live.offset
SPECIAL_AT = EntryStruct.special.offset  # in the second line
LIVE = 0x4C495645  # "LIVE"

if ctypes.sizeof(EntryStruct) != ENTRY_SIZE or EntryStruct.service.offset != 64:
    raise AssertionError("connection entry does not fill two cache lines")

# flags
ACTIVE = 1  # counted in the real server's active connections
ONE_SIDED = 2  # replies do not come back through us (DR, Tunnel)
HASHED1 = 4  # side 1 is in the index
QUIESCENT = 8  # ends with the first packet after its real server is gone
LOW_MTU = 16  # << side: the route of that direction has an MTU of its own, below the port's
SPECIAL = 64  # needs more than a rewrite: see `special` and ipvs/special.py
WIDE = 128  # an IPv6 side: the entry takes two slots, see ipvs/wide_entry.py

# special
S_TUNNEL = 1  # sent inside another IP header
S_TOA = 2  # the client's address goes into a TCP option
S_SEQ = 4  # sequence numbers are shifted
S_PROXY = 8  # the client's address goes into a PROXY header
S_SNAT = 16  # UDP or ICMP that an inside host began
S_SCTP = 32
S_UOA = 64  # the client's address goes into a UDP packet
S_OPS = 256  # one packet, then the connection is gone (never in the index)
S_NAT64 = 512  # the sides are of different families

# marks
TOA_WANTED = 1  # every handshake tells the server the client's address
ISN_WANTED = 2  # every handshake gets a new initial sequence number
PROVEN = 4  # the server has answered more than the SYN: its socket exists
FIRST_KNOWN = 8
PROXY_DONE = 16  # `ours` and `theirs` are decided
TOLD = 32  # << side: that end was told that the connection is over, see ipvs/ending.py

MODE_FULLNAT, MODE_NAT, MODE_DR, MODE_TUNNEL, MODE_SNAT = range(5)
MODES = {
    "fullnat": MODE_FULLNAT,
    "nat": MODE_NAT,
    "dr": MODE_DR,
    "tunnel": MODE_TUNNEL,
    "snat": MODE_SNAT,
}


@inlined
def swap_halves(addresses):
    """(source, destination) -> (destination, source) of a raw 8-byte address pair."""
    return wrap((addresses & 0xFFFFFFFF) << 32) | ((addresses >> 32) & 0xFFFFFFFF)


@inlined
def swap_ports(ports):
    """The same for the low 4 bytes of a ``ports`` word; the protocol stays."""
    turned = ((ports & 0xFFFF) << 16) | ((ports >> 16) & 0xFFFF)
    return turned | (ports & ~0xFFFFFFFF)


@inlined
def tuple_hash(seed, addresses, ports):
    """Keyed 64-bit hash of one side; ``seed`` is the address of two random 64-bit words."""
    return mum(addresses ^ load64(seed), ports ^ load64(seed + 8))
