"""Sequence numbers of a connection whose byte stream or initial number we change (RFC 9293 3.4).

The client counts as it likes; the real server sees its numbers moved by ``isn_delta``, and behind
the first byte of data also by the difference between the PROXY header we put in (``ours`` bytes)
and the one the client sent, which we took out (``theirs``).  The server's own numbers stay.
"""

from __future__ import annotations

from ipvs.entry import PROXY_DONE, Entry
from runtime.intrinsics import load8, load16, load32, store8, store16
from runtime.jit import compiled, inlined
from stack.checksum import difference, sum_bytes, update
from stack.headers import Tcp
from stack.tcp_options import FIXED, SACK, find_option, header_bytes

WORD = 0xFFFFFFFF
HALF = 0x80000000


@inlined
def ahead(a, b):
    """How far sequence number ``a`` is ahead of ``b``: -2**31 .. 2**31 - 1."""
    return (((a - b) & WORD) ^ HALF) - HALF


@compiled
def to_server(entry, number):
    """The server's count for the client's sequence number."""
    e = Entry(entry)
    moved = number + e.isn_delta
    if e.marks & PROXY_DONE and ahead(number, e.first) > 0:
        moved += e.ours - e.theirs
    return moved & WORD


@compiled
def to_client(entry, number):
    """The client's count for what the server acknowledges.

    While the server has acknowledged only a part of our header it has nothing of the client's.
    """
    e = Entry(entry)
    moved = (number - e.isn_delta) & WORD
    if e.marks & PROXY_DONE:
        past = ahead(moved, e.first)
        if past > 0:
            if past < e.ours:
                return e.first
            moved += e.theirs - e.ours
    return moved & WORD


@compiled
def set_seq(l4, number):
    """Write the sequence number; the checksum by difference."""
    old = load32(l4 + 4)
    Tcp(l4).seq = number
    store16(l4 + 16, update(load16(l4 + 16), difference(old, load32(l4 + 4))))
    return 0


@compiled
def restore_quoted_seq(entry, l4, whole):
    """A client's segment, quoted in an ICMP error as we sent it: its own sequence number.

    ``whole``: the quotation reaches as far as the TCP checksum.
    """
    number = to_client(entry, Tcp(l4).seq)
    if whole:
        set_seq(l4, number)
    else:
        Tcp(l4).seq = number
    return 0


@compiled
def set_ack(l4, number):
    """Write the acknowledgement number; the checksum by difference."""
    old = load32(l4 + 8)
    Tcp(l4).ack = number
    store16(l4 + 16, update(load16(l4 + 16), difference(old, load32(l4 + 8))))
    return 0


@compiled
def _word_at(at):
    return (load8(at) << 24) | (load8(at + 1) << 16) | (load8(at + 2) << 8) | load8(at + 3)


@compiled
def _put_word(at, value):
    store8(at, value >> 24)
    store8(at + 1, (value >> 16) & 0xFF)
    store8(at + 2, (value >> 8) & 0xFF)
    store8(at + 3, value & 0xFF)
    return 0


@compiled
def sack_to_client(entry, l4):
    """The edges of selectively acknowledged blocks (RFC 2018) in the client's count."""
    at = find_option(l4, SACK)
    if at == 0:
        return 0
    size = header_bytes(l4) - FIXED
    old = sum_bytes(l4 + FIXED, size)
    end = at + load8(at + 1)
    at += 2
    while at + 4 <= end:
        _put_word(at, to_client(entry, _word_at(at)))
        at += 4
    new = sum_bytes(l4 + FIXED, size)
    store16(l4 + 16, update(load16(l4 + 16), difference(old, new)))
    return 1
