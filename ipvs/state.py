"""State machine step of a connection for one packet."""

from __future__ import annotations

from ipvs.context import Ipvs
from ipvs.dest import connection_activity
from ipvs.ending import answer_end
from ipvs.entry import ACTIVE, ENTRY_SIZE, MODE_FULLNAT, ONE_SIDED, Entry
from ipvs.handshake import handshake, plain_handshake
from ipvs.sctp_states import SCTP_ESTABLISHED
from ipvs.table import Table, rearm_sooner
from ipvs.tcp import ENDS, EST, EVENT_ILLEGAL, HANDSHAKE, UDP_NORMAL, UDP_ONEWAY, StateTables
from runtime.intrinsics import load8
from runtime.jit import compiled, inlined
from stack.context import Stack
from stack.drops import TCP_FLAGS
from stack.headers import PROTO_TCP, PROTO_UDP


@compiled
def enter(ipvs, reference, state, seconds, active):
    """Put a connection into a new state with a new timeout; keep the server's counts right."""
    w = Ipvs(ipvs)
    entry = Entry(Table(w.table).entries + (reference >> 1) * ENTRY_SIZE)
    entry.state = state
    entry.timeout = seconds
    was = entry.flags & ACTIVE
    if was != active:
        entry.flags = (entry.flags & ~ACTIVE) | active
        connection_activity(w.dest_stats, entry.dest, active)
    rearm_sooner(w.table, reference >> 1, Stack(w.stack).now, seconds)
    return 0


@inlined
def _advance_tcp(ipvs, reference, l4):
    w = Ipvs(ipvs)
    entry = Entry(Table(w.table).entries + (reference >> 1) * ENTRY_SIZE)
    t = StateTables(w.states)
    event = t.event[load8(l4 + 13) & 63]
    path = reference & 1
    if entry.flags & ONE_SIDED:
        path = 2
    state = t.next[path * 128 + event * 16 + entry.state]
    if state != entry.state:
        if state & ENDS:
            reason = answer_end(ipvs, reference, l4)
            if reason != 0:
                return reason
            state = state & ~ENDS
        if state & HANDSHAKE:
            state = state & ~HANDSHAKE
            if entry.mode == MODE_FULLNAT:
                handshake(ipvs, entry.ptr, path, l4)
            else:
                plain_handshake(entry.ptr, l4)
        if state != entry.state:
            seconds = t.tcp_timeout[state]
            if state == EST and entry.fixed_timeout != 0:
                seconds = entry.fixed_timeout
            enter(ipvs, reference, state, seconds, ACTIVE if state == EST else 0)
    return TCP_FLAGS if event == EVENT_ILLEGAL else 0


@inlined
def _advance_udp(ipvs, reference):
    w = Ipvs(ipvs)
    entry = Entry(Table(w.table).entries + (reference >> 1) * ENTRY_SIZE)
    state = UDP_NORMAL if (reference & 1 or entry.state == UDP_NORMAL) else UDP_ONEWAY
    if state != entry.state:
        seconds = StateTables(w.states).udp_timeout[state]
        if entry.fixed_timeout != 0:
            seconds = entry.fixed_timeout
        enter(ipvs, reference, state, seconds, 0)
    return 0


@compiled
def _advance_sctp(ipvs, reference):
    w = Ipvs(ipvs)
    entry = Entry(Table(w.table).entries + (reference >> 1) * ENTRY_SIZE)
    t = StateTables(w.states)
    event = t.sctp_event[w.sctp_chunk]
    state = t.sctp_next[(reference & 1) * 256 + event * 16 + entry.state]
    if state != entry.state:
        seconds = t.sctp_timeout[state]
        if state == SCTP_ESTABLISHED and entry.fixed_timeout != 0:
            seconds = entry.fixed_timeout
        enter(ipvs, reference, state, seconds, ACTIVE if state == SCTP_ESTABLISHED else 0)
    return 0


@inlined
def advance(ipvs, reference, l4, proto):
    """Account one packet in the connection's state; 0 or a drop reason."""
    if proto == PROTO_TCP:
        return _advance_tcp(ipvs, reference, l4)
    if proto == PROTO_UDP:
        return _advance_udp(ipvs, reference)
    return _advance_sctp(ipvs, reference)
