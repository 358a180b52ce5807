"""Receive-side scaling as the NIC computes it: at which worker's queue a packet will arrive.

The Toeplitz hash is linear over the input bits, so one 256-entry table per input byte replaces the
bit loop: twelve loads and xors for an IPv4 four-tuple, 36 for an IPv6 one.
"""

from __future__ import annotations

import ctypes

from netdev.port import MAX_PORTS
from runtime.intrinsics import load8
from runtime.jit import compiled
from runtime.pointers import view

# Microsoft's verification key: the default of most drivers and a good mixer.
DEFAULT_KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
RETA_MAX = 512
POSITIONS = 36  # input bytes of an IPv6 four-tuple
PORT_AT, PORT_AT6 = 10, 34  # positions of the destination port


class ByteTableStruct(ctypes.Structure):
    """Contribution of each value of one input byte."""

    _fields_ = [("value", ctypes.c_uint32 * 256)]


class RetaStruct(ctypes.Structure):
    """Indirection table of one port; ``size`` (a power of two) 0 when its RSS is not known.

    In place of queues it names the workers that poll them.
    """

    _fields_ = [("size", ctypes.c_int64), ("queue", ctypes.c_uint16 * RETA_MAX)]


class RssStruct(ctypes.Structure):
    """Key tables (shared by all ports: we set one key) and the ports' indirection tables."""

    _fields_ = [("byte", ByteTableStruct * POSITIONS), ("port", RetaStruct * MAX_PORTS)]


Rss = view(RssStruct)


def toeplitz(key: bytes, data: bytes) -> int:
    """The hash by its definition, bit by bit; the oracle of the table version."""
    window = int.from_bytes(key, "big")
    width = len(key) * 8
    result = 0
    for index, byte in enumerate(data):
        for bit in range(8):
            if byte & (0x80 >> bit):
                shift = width - 32 - (index * 8 + bit)
                result ^= (window >> shift) & 0xFFFFFFFF
    return result


def fill_tables(rss: int, key: bytes) -> None:
    """Compute the byte tables for ``key`` (40 bytes); raises ValueError for a short key."""
    if len(key) < POSITIONS + 4:
        raise ValueError("RSS key shorter than an IPv6 tuple needs")
    r = Rss(rss)
    window, width = int.from_bytes(key, "big"), len(key) * 8
    for position in range(POSITIONS):
        table = r.byte[position]
        table.value[0] = 0
        for bit in range(8):
            part = (window >> (width - 39 - 8 * position + bit)) & 0xFFFFFFFF
            for below in range(1 << bit):
                table.value[(1 << bit) + below] = table.value[below] ^ part


def set_indirection(rss: int, port: int, queues: list[int]) -> None:
    """Store a port's indirection table (workers by hash); its length must be a power of two up to
    RETA_MAX."""
    size = len(queues)
    if size > RETA_MAX or size & (size - 1):
        raise ValueError(f"RSS table of {size} entries is not supported")
    reta = Rss(rss).port[port]
    for index, queue in enumerate(queues):
        reta.queue[index] = queue
    reta.size = size


@compiled
def rss_hash(rss, src, dst, sport, dport):
    """Toeplitz hash of an IPv4 TCP or UDP packet (host-order numbers)."""
    r = Rss(rss)
    h = r.byte[0].value[src >> 24] ^ r.byte[1].value[(src >> 16) & 255]
    h ^= r.byte[2].value[(src >> 8) & 255] ^ r.byte[3].value[src & 255]
    h ^= r.byte[4].value[dst >> 24] ^ r.byte[5].value[(dst >> 16) & 255]
    h ^= r.byte[6].value[(dst >> 8) & 255] ^ r.byte[7].value[dst & 255]
    h ^= r.byte[8].value[sport >> 8] ^ r.byte[9].value[sport & 255]
    return h ^ r.byte[10].value[dport >> 8] ^ r.byte[11].value[dport & 255]


@compiled
def queue_of(rss, port, src, dst, sport, dport):
    """Worker that polls the queue of port index ``port`` on which such a packet arrives."""
    reta = Rss(rss).port[port]
    return reta.queue[rss_hash(rss, src, dst, sport, dport) & (reta.size - 1)]


@compiled
def rss_hash6(rss, at, ports):
    """Toeplitz hash of an IPv6 TCP or UDP packet: its 32 address bytes at ``at``, raw ports."""
    r = Rss(rss)
    h = 0
    for position in range(32):
        h ^= r.byte[position].value[load8(at + position)]
    for k in range(4):
        h ^= r.byte[32 + k].value[(ports >> (8 * k)) & 255]
    return h


@compiled
def queue_of6(rss, port, at, ports):
    """``queue_of`` for an IPv6 packet."""
    reta = Rss(rss).port[port]
    return reta.queue[rss_hash6(rss, at, ports) & (reta.size - 1)]


@compiled
def with_port(rss, hashed, position, port):
    """A hash with destination port 0 becomes that of ``port`` (whose byte ``position`` it is)."""
    r = Rss(rss)
    return hashed ^ r.byte[position].value[port >> 8] ^ r.byte[position + 1].value[port & 255]
