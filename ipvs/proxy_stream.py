"""The PROXY header in a TCP stream: one decision, at the client's first byte of data.

The server's numbers are ahead of the client's by the header from there on (ipvs/sequence.py).
Until it is decided nothing that comes behind the first byte is sent on: how far its numbers are
ahead is not known yet.  The client sends it again.
"""

from __future__ import annotations

from ipvs.context import SCRATCH_AT, Ipvs, Packet
from ipvs.drops import PROXY_ORDER
from ipvs.entry import FIRST_KNOWN, PROXY_DONE, Entry
from ipvs.front import header_of, packet_ahead, payload_of, replace_front
from ipvs.onward import send_on
from ipvs.proxy import decide
from ipvs.room import fixed_of, in_parts, l3_of, total_of
from ipvs.sequence import WORD, ahead, set_seq, to_server
from netdev.mbuf import data_of
from runtime.jit import compiled
from stack.drops import NO_MBUF
from stack.headers import PROTO_TCP, Tcp
from stack.neigh import drop

FIN, SYN, RST = 1, 2, 4


@compiled
def send_ahead(ipvs, packet, entry, hop, l4, header, ours, proto):
    """Send ``ours`` bytes of ``header`` in a packet of their own; 0 or a drop reason."""
    k = Packet(packet)
    mbuf = packet_ahead(ipvs, packet, l4, header, ours, proto)
    if mbuf == 0:
        return NO_MBUF
    held = k.mbuf
    data = k.data
    k.mbuf = mbuf
    k.data = data_of(mbuf)
    at = l3_of(packet) + fixed_of(l3_of(packet))
    reason = send_on(ipvs, packet, entry, 0, hop, at, proto)
    k.mbuf = held
    k.data = data
    if reason != 0:
        drop(Ipvs(ipvs).stack, mbuf, reason)
    return reason


@compiled
def put_front(ipvs, packet, entry, hop, l4, mtu, proto):
    """The decided header in front of the payload: in the packet if it fits, else ahead of it.

    Returns the address of the L4 header now, or minus a drop reason.
    """
    e = Entry(entry)
    header = ipvs + SCRATCH_AT
    if total_of(l3_of(packet)) + e.ours - e.theirs <= mtu:
        moved = replace_front(packet, l4, header, e.ours, e.theirs, proto)
        if moved != 0:
            return moved
    reason = send_ahead(ipvs, packet, entry, hop, l4, header, e.ours, proto)
    if reason != 0:
        return -reason
    moved = replace_front(packet, l4, header, 0, e.theirs, proto)
    if proto == PROTO_TCP:
        set_seq(moved, (e.first + e.isn_delta + e.ours) & WORD)
    return moved


@compiled
def _first_data(ipvs, packet, entry, hop, l4, mtu, size):
    e = Entry(entry)
    l3 = l3_of(packet)
    at = l4 + header_of(l4, PROTO_TCP)
    if in_parts(l3, l4):
        return -PROXY_ORDER
    if decide(ipvs, entry, l3, l4, at, size, PROTO_TCP) == 0:
        return -PROXY_ORDER
    set_seq(l4, (e.first + e.isn_delta) & WORD)
    if e.ours == 0:
        return l4
    return put_front(ipvs, packet, entry, hop, l4, mtu, PROTO_TCP)


@compiled
def proxy_to_server(ipvs, packet, entry, hop, l4, mtu):
    """A client's segment; address of its TCP header now, or minus a drop reason."""
    e = Entry(entry)
    t = Tcp(l4)
    seq = t.seq
    flags = t.flags
    plain = (seq + e.isn_delta) & WORD
    if flags & SYN or e.marks & FIRST_KNOWN == 0:
        set_seq(l4, plain)
        return l4
    size = payload_of(l3_of(packet), l4, PROTO_TCP)
    past = ahead(seq, e.first)
    if past == 0 and size > 0 and flags & RST == 0:
        return _first_data(ipvs, packet, entry, hop, l4, mtu, size)
    if past == 0 and flags & FIN and e.marks & PROXY_DONE == 0:
        # It ends without a byte: there will be no header.
        e.ours = 0
        e.theirs = 0
        e.marks = e.marks | PROXY_DONE
    if past < 0 and past + size > 0:
        return -PROXY_ORDER
    if past > 0:
        if e.marks & PROXY_DONE:
            if past < e.theirs:
                return -PROXY_ORDER
            plain = to_server(entry, seq)
        elif size > 0 or flags & FIN:
            return -PROXY_ORDER
        else:
            # An acknowledgement alone: with the number the server waits for it is acceptable.
            plain = (e.first + e.isn_delta) & WORD
    set_seq(l4, plain)
    return l4
