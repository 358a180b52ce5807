"""TCP and UDP connection states: the reference's transition tables and timeouts, as arrays.

Those of SCTP are in ipvs/sctp_states.py; the worker has all of them in one block.
"""

from __future__ import annotations

import ctypes
from typing import Any

from ipvs import sctp_states
from runtime.pointers import view

TCP_STATES = (
    "TCP_NONE", "TCP_EST", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT",
    "TCP_CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK", "TCP_CLOSE",
)  # fmt: skip
UDP_STATES = ("UDP_NONE", "UDP_ONEWAY", "UDP_NORM", "UDP_LAST")
NONE, EST, SYN_SENT, SYN_RECV, FIN_WAIT, TIME_WAIT, CLOSE = range(7)
CLOSE_WAIT, LAST_ACK, LISTEN, SYNACK = range(7, 11)
ENDING = 11  # idle for too long, its ends are being told: see ipvs/ending.py
UDP_NONE, UDP_ONEWAY, UDP_NORMAL, UDP_LAST = range(4)

# Added to the next state in the table: the packet is part of a handshake, see ipvs/handshake.py.
HANDSHAKE = 16
# The same: the connection is ENDING.  What follows is the way of CLOSE.
ENDS = 32
EVENT_SYN, EVENT_FIN, EVENT_ACK, EVENT_RST, EVENT_NONE, EVENT_ILLEGAL = range(6)

# Seconds, by state; the configuration may replace them (ipvs_defs/tcp/timeout, udp/timeout).
TCP_TIMEOUTS = {
    "none": 2, "established": 90, "syn_sent": 3, "syn_recv": 30, "fin_wait": 7, "time_wait": 7,
    "close": 3, "close_wait": 7, "last_ack": 7, "listen": 120, "synack": 30,
}  # fmt: skip
UDP_TIMEOUTS = {"none": 2, "oneway": 300, "normal": 300, "last": 2}

_SHORT = {
    "NO": NONE, "ES": EST, "SS": SYN_SENT, "SR": SYN_RECV, "FW": FIN_WAIT, "TW": TIME_WAIT,
    "CL": CLOSE, "CW": CLOSE_WAIT, "LA": LAST_ACK, "LI": LISTEN, "SA": SYNACK,
}  # fmt: skip

# Rows: event syn, fin, ack, rst; columns: the states in order.  From the client, from the server,
# and from the client when replies are not seen (DR).
_TABLES = (
    (
        "SR ES ES SR SR SR SR SR SR SR SR",
        "CL CW SS TW TW TW CL CW LA LI TW",
        "CL ES SS ES FW TW CL CW CL LI ES",
        "CL CL CL SR CL CL CL CL LA LI SR",
    ),
    (
        "SS ES SS SR SS SS SS SS SS LI SR",
        "TW FW SS TW FW TW CL TW LA LI TW",
        "ES ES SS ES FW TW CL CW LA ES ES",
        "CL CL SS CL CL TW CL CL CL CL CL",
    ),
    (
        "SR ES ES SR SR SR SR SR SR SR SR",
        "CL FW SS TW FW TW CL CW LA LI TW",
        "CL ES SS ES FW TW CL CW CL LI ES",
        "CL CL CL SR CL CL CL CL LA LI CL",
    ),
)


class StateTablesStruct(ctypes.Structure):
    """``next`` is indexed [path * 128 + event * 16 + state]; path: side 0, side 1, one-sided."""

    _fields_ = [
        ("next", ctypes.c_uint8 * (3 * 128)),
        ("event", ctypes.c_uint8 * 64),  # by the low six TCP flag bits
        ("tcp_timeout", ctypes.c_uint32 * 16),
        ("udp_timeout", ctypes.c_uint32 * 16),
        ("sctp_next", ctypes.c_uint8 * (2 * 256)),  # [side * 256 + event * 16 + state]
        ("sctp_event", ctypes.c_uint8 * 256),  # by chunk type
        ("sctp_timeout", ctypes.c_uint32 * 16),
    ]


StateTables = view(StateTablesStruct)


def event_of(flags: int) -> int:
    """Event of a TCP flags byte (low six bits); priority RST, SYN, FIN, ACK.

    SYN together with FIN or RST is no state any stack produces: such segments are dropped.  A
    segment with none of the four changes nothing (the reference closes the connection, which lets
    a blind attacker end it).
    """
    fin, syn, rst, ack = flags & 1, flags & 2, flags & 4, flags & 16
    if syn and (fin or rst):
        return EVENT_ILLEGAL
    if rst:
        return EVENT_RST
    if syn:
        return EVENT_SYN
    if fin:
        return EVENT_FIN
    return EVENT_ACK if ack else EVENT_NONE


def fill_tables(
    address: int, tcp: dict[str, int] | None = None, udp: dict[str, int] | None = None
) -> None:
    """Write transition tables and timeouts (seconds; missing names keep the default)."""
    t = StateTables(address)
    for path, rows in enumerate(_TABLES):
        for event, row in enumerate(rows):
            mark = HANDSHAKE if event == EVENT_SYN and path != 2 else 0
            for state, name in enumerate(row.split()):
                t.next[path * 128 + event * 16 + state] = _SHORT[name] | mark
        for state in range(len(TCP_STATES)):
            t.next[path * 128 + EVENT_NONE * 16 + state] = state
            t.next[path * 128 + EVENT_ILLEGAL * 16 + state] = state
        for event in range(EVENT_ILLEGAL):
            at = path * 128 + event * 16
            t.next[at + ENDING] = t.next[at + CLOSE] | ENDS
    for flags in range(64):
        t.event[flags] = event_of(flags)
    set_timeouts(address, tcp or {}, udp or {})
    _fill_sctp(t)


def set_timeouts(address: int, tcp: dict[str, int] | None, udp: dict[str, int] | None) -> None:
    """Write timeouts (seconds; missing names get the default); None leaves a protocol's as is."""
    t = StateTables(address)
    if tcp is not None:
        for state, (name, seconds) in enumerate(TCP_TIMEOUTS.items()):
            t.tcp_timeout[state] = tcp.get(name, seconds)
    if udp is not None:
        for state, (name, seconds) in enumerate(UDP_TIMEOUTS.items()):
            t.udp_timeout[state] = udp.get(name, seconds)


def _fill_sctp(t: Any) -> None:
    for side, rows in enumerate(sctp_states.transitions()):
        for event, row in enumerate(rows):
            for state, following in enumerate(row):
                t.sctp_next[side * 256 + event * 16 + state] = following
    for event, chunk in enumerate(sctp_states.EVENTS):
        if chunk is not None:
            t.sctp_event[chunk] = event
    for state, seconds in enumerate(sctp_states.timeouts()):
        t.sctp_timeout[state] = seconds
