"""Datagrams of which fragments are passing: what is known of each, which parts were seen.

A fragment behind the first has no ports.  The first one leaves them here, together with what
became of it, and where no connection lasts behind it (a one-packet service's) that of its own.
The parts seen are kept exactly, so no byte of a datagram is ever forwarded twice (RFC 1858, 3128,
5722).  Records are found and given up in ipvs/datagram_table.py.
"""

from __future__ import annotations

import ctypes

from ipvs.context import Ipvs
from ipvs.drops import FRAG_DUPLICATE, FRAG_MANY, FRAG_OVERLAP
from runtime.jit import compiled
from runtime.pointers import view
from stack.context import Stack

SETS = 256
WAYS = 4
PARTS = 128  # 64 KB in fragments of 512 bytes
LIFE_MS = 2000  # since the last fragment: they leave their sender together

FREE, WAITING, KNOWN, AWAY, REFUSED = range(5)


class PartStruct(ctypes.Structure):
    """One fragment seen: bytes ``begin`` to ``end`` of the datagram's content."""

    _fields_ = [("begin", ctypes.c_uint16), ("end", ctypes.c_uint16)]


class DatagramStruct(ctypes.Structure):
    """One datagram, 640 bytes."""

    _fields_ = [
        ("addresses", ctypes.c_int64 * 4),  # source and destination as on the wire
        ("key", ctypes.c_int64),  # identification, protocol (IPv4) from bit 32, version from bit 40
        ("ports", ctypes.c_int64),  # as in the connection's side; of the first fragment
        ("waiting", ctypes.c_int64),  # first waiting mbuf, chained through mbuf.tx_offload
        ("last", ctypes.c_int64),  # last waiting mbuf
        ("seen", ctypes.c_uint32),  # ms of the last fragment taken
        ("state", ctypes.c_uint8),
        ("handed", ctypes.c_uint8),  # the first waiting mbuf came from another worker
        ("owner", ctypes.c_uint16),  # AWAY: worker that the fragments are handed to
        ("hops", ctypes.c_uint32),  # AWAY: what their mbufs say then, see ipvs/seek.py
        ("waiting_count", ctypes.c_uint16),
        ("count", ctypes.c_uint16),  # of parts
        ("end", ctypes.c_uint32),  # of the content, 0 while the last fragment was not seen
        ("high", ctypes.c_uint32),  # highest end of a part
        ("got", ctypes.c_uint32),  # bytes in all parts
        # Not 0: the first waiting mbuf is the first fragment, its ports so far behind its begin.
        ("held", ctypes.c_uint32),
        # Not 0: the connection side that others follow, which ends with this record.
        ("kept", ctypes.c_int64),
        ("pad", ctypes.c_uint8 * 24),
        ("part", PartStruct * PARTS),
    ]


class DatagramsStruct(ctypes.Structure):
    """All datagrams of a worker: a hash table of sets, no chains to grow."""

    _fields_ = [
        ("waiting", ctypes.c_int64),  # packets in all queues
        ("kept", ctypes.c_int64),  # connections of one-packet services
        ("cursor", ctypes.c_int64),  # of the ageing sweep
        ("pad", ctypes.c_int64 * 5),
        ("datagram", DatagramStruct * (SETS * WAYS)),
    ]


Datagram = view(DatagramStruct)
Datagrams = view(DatagramsStruct)
DATAGRAM_SIZE = ctypes.sizeof(DatagramStruct)
DATAGRAMS_AT = DatagramsStruct.datagram.offset
if DATAGRAM_SIZE != 640:
    raise AssertionError(f"datagram record is {DATAGRAM_SIZE} bytes")


@compiled
def take_part(ipvs, datagram, begin, end, more):
    """Note that bytes ``begin`` to ``end`` came, ``more`` 0 in the last fragment; 0 or a reason."""
    d = Datagram(datagram)
    for i in range(d.count):
        part = d.part[i]
        if part.begin == begin and part.end == end:
            return FRAG_DUPLICATE
        if part.begin < end and begin < part.end:
            return FRAG_OVERLAP
    if d.end != 0 and (end > d.end or more == 0):
        return FRAG_OVERLAP
    if more == 0 and end < d.high:
        return FRAG_OVERLAP
    if d.count >= PARTS:
        return FRAG_MANY
    part = d.part[d.count]
    part.begin = begin
    part.end = end
    d.count += 1
    d.got += end - begin
    if end > d.high:
        d.high = end
    if more == 0:
        d.end = end
    d.seen = Stack(Ipvs(ipvs).stack).now
    return 0


@compiled
def is_complete(datagram):
    """1 when every byte was seen: the identification may be used again (RFC 6864)."""
    d = Datagram(datagram)
    return 1 if (d.end != 0 and d.got == d.end) else 0
