"""Proxy protocol: a header in front of a client's first data names the client to its server.

What a client sends there itself counts as data of its own only where the service does not look.
A service that does not believe its clients replaces their header by ours; one that does (the
insecure variants) leaves it as it is, or translates it to the version it wants.
"""

from __future__ import annotations

from ipvs.context import SCRATCH_AT
from ipvs.entry import PROXY_DONE, Entry
from ipvs.proxy_header import DATAGRAM, STREAM, V1, V2, write_v1, write_v2
from ipvs.proxy_parse import (
    HEADER2,
    VERSION_AT,
    WIDE_ADDRESSES,
    WITH_ADDRESSES,
    find_header,
    read_v1,
)
from runtime.intrinsics import load8
from runtime.jit import compiled
from stack.headers import PROTO_TCP

INSECURE = 16
PROXY_KINDS = {
    "disable": 0, "v1": V1, "v2": V2, "v1-insecure": V1 | INSECURE, "v2-insecure": V2 | INSECURE,
}  # fmt: skip
ENDS_AT = 192  # in the scratch space, behind the longest header: ends read from a line


@compiled
def _write(to, version, wide, transport, src, dst, ports):
    if version == V1:
        return write_v1(to, wide, src, dst, ports)
    return write_v2(to, wide, transport, src, dst, ports)


@compiled
def write_own(ipvs, entry, l3, l4, proto):
    """The header that names the packet's sender and destination; its length."""
    to = ipvs + SCRATCH_AT
    transport = STREAM if proto == PROTO_TCP else DATAGRAM
    version = Entry(entry).proxy & 15
    if load8(l3) >> 4 == 4:
        return _write(to, version, 0, transport, l3 + 12, l3 + 16, l4)
    return _write(to, version, 1, transport, l3 + 8, l3 + 24, l4)


@compiled
def _translate(ipvs, entry, found, at, proto):
    """The header at ``at`` in the version the service wants; its length, 0 if it is malformed."""
    to = ipvs + SCRATCH_AT
    transport = STREAM if proto == PROTO_TCP else DATAGRAM
    version = Entry(entry).proxy & 15
    wide = 1 if found & WIDE_ADDRESSES else 0
    size = 16 if wide else 4
    ends = at + HEADER2
    if (found >> VERSION_AT) & 15 == V1:
        ends = to + ENDS_AT
        if read_v1(at, wide, ends) == 0:
            return 0
    return _write(to, version, wide, transport, ends, ends + size, ends + 2 * size)


@compiled
def choose(ipvs, entry, l3, l4, at, size, proto):
    """Which header goes in front of ``size`` bytes of first data at ``at``.

    Writes it into the scratch space; returns its length, with the length of the client's own that
    it replaces << 16.
    """
    e = Entry(entry)
    found = find_header(at, size)
    theirs = found & 0xFFFF
    if found != 0 and e.proxy & INSECURE:
        if (found >> VERSION_AT) & 15 == e.proxy & 15:
            return 0
        if found & WITH_ADDRESSES:
            ours = _translate(ipvs, entry, found, at, proto)
            if ours != 0:
                return ours | (theirs << 16)
    return write_own(ipvs, entry, l3, l4, proto) | (theirs << 16)


@compiled
def decide(ipvs, entry, l3, l4, at, size, proto):
    """``choose``, and hold the connection to it: 1, or 0 when it was decided otherwise before.

    Retransmitted first data may be cut differently; the stream the server gets may not change.
    """
    e = Entry(entry)
    chosen = choose(ipvs, entry, l3, l4, at, size, proto)
    ours = chosen & 0xFFFF
    theirs = chosen >> 16
    if e.marks & PROXY_DONE:
        return 1 if (ours == e.ours and theirs == e.theirs) else 0
    e.ours = ours
    e.theirs = theirs
    e.marks = e.marks | PROXY_DONE
    return 1
