"""Established TCP connections that were idle for too long: both ends are told by a RST.

An end takes a RST only with the very sequence number it expects next (RFC 9293 3.10.7.4, RFC 5961
3.2), which we would have to note with every packet.  Instead the ends are asked for it when the
time comes: a segment outside of the window is answered with an ACK that says it (RFC 9293 3.10.7.4;
keepalives rely on that), and an ACK to a connection that is no more is answered with a RST of just
that number (3.10.7.1).  Meanwhile the connection is ENDING: its state leads every segment here.

The probe has the number of the other end's SYN: behind the window unless close to 4 GB were sent
since.  Every second probe is half the number space away from that, and no window is as large (RFC
7323 2.3): one of the two is answered whatever was sent.
"""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.dest import connection_activity, stands
from ipvs.drops import IDLE_END
from ipvs.entry import (
    ACTIVE,
    FIRST_KNOWN,
    MODE_SNAT,
    ONE_SIDED,
    QUIESCENT,
    TOLD,
    Entry,
)
from ipvs.segment import send_segment
from ipvs.sequence import HALF, WORD
from ipvs.table import entry_of, rearm_sooner
from ipvs.tcp import CLOSE, ENDING, EST
from runtime.intrinsics import load8
from runtime.jit import compiled, inlined
from stack.context import Stack
from stack.headers import PROTO_TCP, Tcp

SYN, RST, ACK = 2, 4, 16
ENDING_SECONDS = 3  # how long an answer is waited for
ASK_EVERY_MS = 1000
BOTH = TOLD | TOLD << 1


@inlined
def is_to_be_told(entry, seconds):
    """1 for a connection with ``seconds`` to live whose end is a matter of this file."""
    e = Entry(entry)
    if (e.side[0].ports >> 32) & 0xFF != PROTO_TCP:
        return 0
    return 1 if e.state == ENDING or (e.state == EST and seconds == 0) else 0


@compiled
def _may_be_told(ipvs, entry):
    """1 for an established connection of two ends that have heard of each other through us."""
    e = Entry(entry)
    if e.flags & ONE_SIDED or e.marks & FIRST_KNOWN == 0:
        return 0
    return 1 if e.flags & QUIESCENT == 0 or stands(Ipvs(ipvs).dests, e.dest) else 0


@compiled
def _probe(ipvs, entry, side):
    """Ask the end on ``side`` for its numbers; 1 when the probe is on its way."""
    e = Entry(entry)
    away = HALF if e.asked & 1 else 0
    opener = 1 if e.mode == MODE_SNAT else 0
    if side == opener:
        return send_segment(ipvs, entry, side, (e.fdata - 1 + away) & WORD, e.first, ACK)
    seq = (e.first - 1 + e.isn_delta + away) & WORD
    return send_segment(ipvs, entry, side, seq, e.fdata, ACK)


@compiled
def _probe_untold(ipvs, entry):
    """Ask all ends that were not told yet; 1 when there are any and one of them can be asked."""
    e = Entry(entry)
    sent = 0
    for side in range(2):
        if e.marks & (TOLD << side) == 0:
            sent = sent | _probe(ipvs, entry, side)
    e.asked += 1
    return sent


@compiled
def _begin(ipvs, entry):
    """An established connection is over: ask its ends.  Seconds until they are asked again, 0
    when they cannot be."""
    w = Ipvs(ipvs)
    e = Entry(entry)
    if e.flags & ACTIVE:
        e.flags = e.flags & ~ACTIVE
        connection_activity(w.dest_stats, e.dest, 0)
    e.marks = e.marks & ~BOTH
    e.asked = 0
    e.last = Stack(w.stack).now
    e.timeout = ENDING_SECONDS
    e.state = ENDING
    if _probe_untold(ipvs, entry) == 0:
        w.idle_untold += 1
        return 0
    w.idle_probed += 1
    return 1


@compiled
def tell_ends(ipvs, entry, seconds):
    """A connection that ``is_to_be_told`` came up in the wheel with ``seconds`` to live; in how
    many it is to come up again, 0: it has ended."""
    e = Entry(entry)
    if e.state == EST:
        return _begin(ipvs, entry) if _may_be_told(ipvs, entry) else 0
    if seconds > 0:
        # A wheel that lags behind brings it up too soon.
        if (Stack(Ipvs(ipvs).stack).now - e.last) & WORD >= e.asked * ASK_EVERY_MS:
            _probe_untold(ipvs, entry)
        return 1
    if e.marks & BOTH != BOTH:
        Ipvs(ipvs).idle_untold += 1
    return 0


@compiled
def _told(ipvs, number, side):
    """The end on ``side`` knows; when both do the timer may release the connection."""
    w = Ipvs(ipvs)
    e = Entry(entry_of(w.table, number))
    e.marks = e.marks | (TOLD << side)
    if e.marks & BOTH == BOTH and e.timeout != 0:
        e.timeout = 0
        rearm_sooner(w.table, number, Stack(w.stack).now, 0)
    return 0


@compiled
def answer_end(ipvs, reference, l4):
    """A segment of an ENDING connection: a drop reason, or 0 for a SYN, which begins a new one as
    in CLOSE."""
    w = Ipvs(ipvs)
    number = reference >> 1
    side = reference & 1
    entry = entry_of(w.table, number)
    flags = load8(l4 + 13)
    if flags & (SYN | RST | ACK) == SYN:
        Entry(entry).state = CLOSE
        return 0
    if flags & RST:
        _told(ipvs, number, side)
    elif flags & ACK and send_segment(ipvs, entry, side, Tcp(l4).ack, 0, RST):
        w.idle_resets += 1
        _told(ipvs, number, side)
    return IDLE_END
