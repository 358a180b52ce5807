"""What a TCP handshake through FullNAT needs: told by every SYN and SYN-ACK of such a connection.

Only the SYN-ACK says what the server agreed to; a SYN alone, which anybody may forge, changes
nothing that an established connection lives by.
"""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.entry import (
    FIRST_KNOWN,
    ISN_WANTED,
    PROVEN,
    PROXY_DONE,
    S_PROXY,
    S_SEQ,
    S_TOA,
    S_UOA,
    SPECIAL,
    TOA_WANTED,
    Entry,
    tuple_hash,
)
from ipvs.index import SEED_AT
from ipvs.sequence import WORD
from ipvs.service import Service
from ipvs.tcp import CLOSE, EST, NONE, TIME_WAIT
from ipvs.toa import size_of
from ipvs.wide_entry import SIX
from runtime.intrinsics import load8
from runtime.jit import compiled
from stack.context import Stack
from stack.headers import PROTO_TCP, PROTO_UDP, Tcp
from stack.tcp_options import FAST_OPEN, TIMESTAMP, TOA, blank_option, lower_mss

ACK = 16
ISN_PER_MS = 250  # one every 4 microseconds (RFC 6528)


@compiled
def leave_plain(entry):
    """A new connection that tells nothing and whose numbers stay."""
    e = Entry(entry)
    e.marks = 0
    e.isn_delta = 0
    e.ours = 0
    e.theirs = 0
    e.proxy = 0
    e.uoa_sent = 0
    return 0


@compiled
def _prepare_tcp(ipvs, entry):
    w = Ipvs(ipvs)
    e = Entry(entry)
    special = 0
    if e.proxy != 0:
        special = S_PROXY
    elif w.toa != 0:
        special = S_TOA
        e.marks = TOA_WANTED
    if w.new_isn != 0:
        special = special | S_SEQ
        e.marks = e.marks | ISN_WANTED
    return special


@compiled
def prepare(ipvs, service, entry):
    """A new FullNAT connection: what its handshake and its packets will need (S_* bits)."""
    e = Entry(entry)
    s = Service(service)
    leave_plain(entry)
    e.proxy = s.proxy
    if s.proto == PROTO_TCP:
        return _prepare_tcp(ipvs, entry)
    if s.proto == PROTO_UDP:
        if s.proxy != 0:
            return S_PROXY
        w = Ipvs(ipvs)
        if w.uoa_packets != 0 and (w.uoa_in_ip == 0 or e.side[0].ports & SIX == 0):
            return S_UOA
    return 0


@compiled
def new_isn(ipvs, entry):
    """Initial sequence number for the server (RFC 6528): a clock plus a secret of the tuple.

    It grows from one connection to the next over the same local port, so that a server that still
    keeps the last one in TIME-WAIT accepts the SYN.
    """
    w = Ipvs(ipvs)
    e = Entry(entry)
    secret = tuple_hash(w.index + SEED_AT, e.side[1].addresses, e.side[1].ports)
    return ((secret & WORD) + Stack(w.stack).now * ISN_PER_MS) & WORD


@compiled
def _syn(ipvs, entry, l4):
    e = Entry(entry)
    if e.special & S_PROXY:
        # Data in the SYN would come before the header.
        blank_option(l4, FAST_OPEN)
    if e.marks & TOA_WANTED:
        blank_option(l4, TOA)
    if e.marks & ISN_WANTED:
        # Timestamps of different clients behind one local port go up and down: the server's
        # protection against old duplicates (RFC 7323 5) would drop segments of the next one.
        blank_option(l4, TIMESTAMP)
    if e.state == NONE or e.state == TIME_WAIT or e.state == CLOSE:
        e.marks = e.marks & ~PROXY_DONE
    if e.state == EST:
        return 0
    seq = Tcp(l4).seq
    if e.marks & ISN_WANTED and (e.state == NONE or seq != e.syn):
        e.isn_delta = (new_isn(ipvs, entry) - seq) & WORD
    e.syn = seq
    return 0


@compiled
def _syn_ack(entry, l4):
    e = Entry(entry)
    first = (Tcp(l4).ack - e.isn_delta) & WORD
    if e.marks & FIRST_KNOWN == 0 or first != e.first:
        e.first = first
        e.ours = 0
        e.theirs = 0
        e.marks = (e.marks | FIRST_KNOWN) & ~PROXY_DONE
    e.fdata = (Tcp(l4).seq + 1) & WORD
    e.marks = e.marks & ~PROVEN
    if e.marks & TOA_WANTED:
        e.special = e.special | S_TOA
        e.flags = e.flags | SPECIAL
        lower_mss(l4, size_of(entry))
    return 0


@compiled
def plain_handshake(entry, l4):
    """A segment with SYN of a two-sided connection that is not FullNAT's: from where its ends count
    is wanted at its end only (ipvs/ending.py).  ``first`` is the number of whoever began it."""
    e = Entry(entry)
    if load8(l4 + 13) & ACK:
        e.first = Tcp(l4).ack
        e.fdata = (Tcp(l4).seq + 1) & WORD
        e.isn_delta = 0
        e.marks = FIRST_KNOWN
    elif e.state == NONE or e.state == TIME_WAIT or e.state == CLOSE:
        e.marks = 0
    return 0


@compiled
def handshake(ipvs, entry, side, l4):
    """A segment with SYN of a FullNAT connection, before its state advances."""
    answer = load8(l4 + 13) & ACK
    if side == 0:
        return _syn(ipvs, entry, l4) if answer == 0 else 0
    return _syn_ack(entry, l4) if answer else 0
