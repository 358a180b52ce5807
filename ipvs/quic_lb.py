"""QUIC-LB (draft-ietf-quic-load-balancers): server ids in connection ids, in plain text.

    3 bits configuration | 5 length or random | server id | nonce, 4 bytes or more

Length of the server ids and number of the configuration are the service's, ids the servers'.
"""

from __future__ import annotations

import ctypes

from ipvs.extra import Extra
from ipvs.service import Service
from runtime.intrinsics import load8, signed, wrap
from runtime.jit import compiled
from runtime.pointers import view

NONCE = 4


class ServerIdStruct(ctypes.Structure):
    """A server id, left-aligned in two words, most significant byte first."""

    _fields_ = [("high", ctypes.c_int64), ("low", ctypes.c_int64), ("dest", ctypes.c_int64)]


ServerId = view(ServerIdStruct)
ID_SIZE = ctypes.sizeof(ServerIdStruct)


def id_words(id_: bytes) -> tuple[int, int]:
    """A server id as the two words of its record."""
    whole = id_.ljust(16, b"\0")
    return signed(int.from_bytes(whole[:8], "big")), signed(int.from_bytes(whole[8:], "big"))


def id_table(ids: dict[int, bytes]) -> ctypes.Array[ServerIdStruct]:
    """Records of the servers' (by number) ids, in the order they are searched in."""
    rows = sorted((*id_words(id_), dest) for dest, id_ in ids.items())
    return (ServerIdStruct * max(1, len(rows)))(*(ServerIdStruct(*row) for row in rows))


@compiled
def word_at(at, count):
    """Left-aligned number of up to 8 bytes."""
    number = 0
    for i in range(8):
        number = wrap(number << 8) | (load8(at + i) if i < count else 0)
    return number


@compiled
def routed(service, at, room):
    """Real server that the connection id at ``at`` (of ``room`` bytes) is routed to, or -1."""
    x = Extra(Service(service).extra)
    if room < 1 + x.quic_length + NONCE or load8(at) >> 5 != x.quic_config:
        return -1
    high = word_at(at + 1, x.quic_length)
    low = word_at(at + 9, x.quic_length - 8)
    first = 0
    last = x.quic_count
    while first < last:
        middle = (first + last) >> 1
        s = ServerId(x.quic_ids + middle * ID_SIZE)
        if s.high == high and s.low == low:
            return s.dest
        if s.high < high or (s.high == high and s.low < low):
            first = middle + 1
        else:
            last = middle
    return -1
