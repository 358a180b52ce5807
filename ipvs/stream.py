"""TCP connections whose segments are changed inside: client address, sequence numbers."""

from __future__ import annotations

from ipvs.entry import S_PROXY, S_SEQ, S_TOA, Entry
from ipvs.proxy_stream import proxy_to_server
from ipvs.sequence import sack_to_client, set_ack, set_seq, to_client, to_server
from ipvs.toa import toa_to_client, toa_to_server
from runtime.intrinsics import load8
from runtime.jit import compiled
from stack.headers import Tcp

SYN, ACK = 2, 16


@compiled
def segment_from_client(ipvs, packet, entry, hop, l4, mtu):
    """Change a client's segment; address of its TCP header now, or minus a drop reason."""
    e = Entry(entry)
    if e.special & S_PROXY:
        return proxy_to_server(ipvs, packet, entry, hop, l4, mtu)
    if e.special & S_TOA:
        l4 = toa_to_server(ipvs, packet, entry, l4, mtu)
    if e.special & S_SEQ:
        t = Tcp(l4)
        if t.flags & SYN:
            set_seq(l4, (t.seq + e.isn_delta) & 0xFFFFFFFF)
        else:
            set_seq(l4, to_server(entry, t.seq))
    return l4


@compiled
def segment_from_server(entry, l4, payload):
    """Change a server's segment."""
    e = Entry(entry)
    if e.special & S_TOA:
        toa_to_client(entry, l4, payload)
    if e.special & (S_SEQ | S_PROXY) and load8(l4 + 13) & ACK:
        set_ack(l4, to_client(entry, Tcp(l4).ack))
        sack_to_client(entry, l4)
    return 0
