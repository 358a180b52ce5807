"""Connections of one-packet services: each ends when its packet was sent, or dropped.

It was never in the index.  Of a datagram in fragments the record keeps it (ipvs/datagrams.py): the
others go to the same real server with the same translation, until the last byte is through.
"""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.datagrams import Datagram, Datagrams
from ipvs.entry import S_OPS, Entry
from ipvs.expire import release
from ipvs.table import entry_of
from runtime.jit import compiled


@compiled
def end_kept(ipvs, datagram):
    """End the connection that a datagram keeps, if it does."""
    w = Ipvs(ipvs)
    d = Datagram(datagram)
    if d.kept != 0:
        release(ipvs, d.kept >> 1)
        d.kept = 0
        Datagrams(w.datagrams).kept -= 1
    return 0


@compiled
def end_one_packet(ipvs, reference, reason):
    """The first packet of a connection is sent (``reason`` 0), or will be dropped."""
    w = Ipvs(ipvs)
    if Entry(entry_of(w.table, reference >> 1)).special & S_OPS == 0:
        return 0
    if w.leading == 0 or reason != 0:
        return release(ipvs, reference >> 1)
    end_kept(ipvs, w.leading)
    Datagram(w.leading).kept = reference
    Datagrams(w.datagrams).kept += 1
    return 0
