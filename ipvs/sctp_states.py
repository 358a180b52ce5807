"""SCTP association states: the reference's transition tables and timeouts, as arrays."""

from __future__ import annotations

from stack.sctp import (
    ABORT,
    COOKIE_ACK,
    COOKIE_ECHO,
    ERROR,
    INIT,
    INIT_ACK,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
)

SCTP_STATES = (
    "SCTP_NONE", "SCTP_INIT1", "SCTP_INIT", "SCTP_COOKIE_SENT", "SCTP_COOKIE_REPLIED",
    "SCTP_COOKIE_WAIT", "SCTP_COOKIE", "SCTP_COOKIE_ECHOED", "SCTP_ESTABLISHED",
    "SCTP_SHUTDOWN_SENT", "SCTP_SHUTDOWN_RECEIVED", "SCTP_SHUTDOWN_ACK_SENT", "SCTP_REJECTED",
    "SCTP_CLOSED",
)  # fmt: skip
_SHORT = ["NO", "I1", "IN", "CS", "CR", "CW", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL"]
SCTP_ESTABLISHED = _SHORT.index("ES")
OTHER_TIMEOUT = 61
SCTP_TIMEOUTS = {"NO": 2, "I1": 4, "ES": 900, "RJ": 4}  # seconds; the rest OTHER_TIMEOUT

# What a chunk is an event of; types not here (SACK, HEARTBEAT, ...) are like data.
EVENTS = (None, INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK, SHUTDOWN, SHUTDOWN_ACK,
          SHUTDOWN_COMPLETE, ERROR, ABORT)  # fmt: skip
EVENT_DATA = 0

# One row an event, in the order of EVENTS; "A B>C" reads: from A or B to C.  "*": from all others.
# Either side may open: a client by INIT1 and COOKIE_SENT, a host behind SNAT, on the server's side,
# by COOKIE_WAIT and COOKIE_ECHOED.
_FROM_CLIENT = (
    "NO>ES",
    "NO>I1 I1 RJ CL>IN",
    "NO I1 IN>CW CW>CO",
    "NO>CR I1>IN CS>CR",
    "NO CE>ES",
    "NO ES>SR",
    "NO>CL I1>IN SS SA>CL",
    "NO I1 IN SA>CL",
    "NO CE>CL",
    "CW>RJ *>CL",
)
_FROM_SERVER = (
    "NO>ES",
    "ES>ES *>CW",
    "NO I1 IN CS>CS",
    "NO I1 IN CS CR CW CO CE>CE",
    "NO I1 IN CS CR CW CO CE>ES",
    "NO I1 IN CS CR CW CO CE ES SS>SS",
    "NO I1 IN CS CR>SA SS SR SA>SA",
    "NO>CL",
    "NO I1 IN CS CR>CL",
    "I1>RJ *>CL",
)


def _row(text: str) -> list[int]:
    """Next state for each state; what a row does not mention stays."""
    row: list[int] = [-1] * len(_SHORT)
    waiting: list[str] = []
    rest = -1
    for word in text.split():
        source, arrow, target = word.partition(">")
        waiting.append(source)
        if arrow:
            for name in waiting:
                if name == "*":
                    rest = _SHORT.index(target)
                else:
                    row[_SHORT.index(name)] = _SHORT.index(target)
            waiting = []
    return [state if state >= 0 else rest if rest >= 0 else at for at, state in enumerate(row)]


def transitions() -> list[list[list[int]]]:
    """Next state by [side][event][state]."""
    return [[_row(text) for text in table] for table in (_FROM_CLIENT, _FROM_SERVER)]


def timeouts() -> list[int]:
    """Seconds by state."""
    return [SCTP_TIMEOUTS.get(name, OTHER_TIMEOUT) for name in _SHORT]
