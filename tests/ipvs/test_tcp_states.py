"""TCP and UDP states: every transition of the reference's tables, through real packets."""

from __future__ import annotations

import functools

import pytest

from ipvs.dest import DestStats
from ipvs.entry import ACTIVE, Entry
from ipvs.table import Table, entry_of
from ipvs.tcp import TCP_STATES
from tests import oracle
from tests.rig import Rig
from tests.topology import (
    GATEWAY_MAC,
    LAN_MAC,
    SERVER_MACS,
    SERVERS,
    VIP,
    WAN_MAC,
    dest,
    network,
    service,
)

CLIENT = "203.0.113.7"
SHORT = ["NO", "ES", "SS", "SR", "FW", "TW", "CL", "CW", "LA", "LI", "SA"]
EVENTS = {"syn": "S", "fin": "FA", "ack": "A", "rst": "R"}
# From top to bottom: from NONE, ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT, TIME_WAIT, CLOSE,
# CLOSE_WAIT, LAST_ACK, LISTEN, SYNACK.  Columns: SYN, FIN, ACK, RST.
CLIENTS = """
    SR CL CL CL
    ES CW ES CL
    ES SS SS CL
    SR TW ES SR
    SR TW FW CL
    SR TW TW CL
    SR CL CL CL
    SR CW CW CL
    SR LA CL LA
    SR LI LI LI
    SR TW ES SR
"""
SERVERS_TABLE = """
    SS TW ES CL
    ES FW ES CL
    SS SS SS SS
    SR TW ES CL
    SS FW FW CL
    SS TW TW TW
    SS CL CL CL
    SS TW CW CL
    SS LA LA CL
    LI LI ES CL
    SR TW ES CL
"""
ONE_SIDED = """
    SR CL CL CL
    ES FW ES CL
    ES SS SS CL
    SR TW ES SR
    SR FW FW CL
    SR TW TW CL
    SR CL CL CL
    SR CW CW CL
    SR LA CL LA
    SR LI LI LI
    SR TW ES CL
"""
TIMEOUTS = dict(zip(SHORT, (2, 90, 3, 30, 7, 7, 3, 7, 7, 120, 30), strict=True))


def rows(text):
    return [line.split() for line in text.split("\n") if line.strip()]


CASES = [
    (path, state, event, rows(text)[i][j])
    for path, text in (("client", CLIENTS), ("server", SERVERS_TABLE), ("dr", ONE_SIDED))
    for i, state in enumerate(SHORT)
    for j, event in enumerate(EVENTS)
]


@functools.cache
def rig_of(path, **changes):
    """A balancer with one connection (entry 1), DR when packets come from one side only."""
    rig = network(Rig())
    service(rig, [dest(0, mode="dr" if path == "dr" else "nat", port=80)], **dict(changes))
    rig.exchange(0, from_client("S"))
    return rig


def from_client(flags, proto="tcp"):
    layer = oracle.segment(proto, 4000, 80, flags)
    return oracle.frame((GATEWAY_MAC, WAN_MAC), (CLIENT, VIP), layer)


def from_server(flags, proto="tcp"):
    layer = oracle.segment(proto, 80, 4000, flags)
    return oracle.frame((SERVER_MACS[0], LAN_MAC), (SERVERS[0], CLIENT), layer)


def entry(rig):
    return Entry(entry_of(rig.w.table, 1))


def counts(rig):
    stats = DestStats(rig.w.dest_stats)
    return stats.active, stats.inactive


def force(rig, state):
    """Put the connection into ``state`` as if it had come there by itself."""
    e, stats = entry(rig), DestStats(rig.w.dest_stats)
    e.state, e.timeout = SHORT.index(state), 55
    active = state == "ES"
    e.flags = (e.flags & ~ACTIVE) | active
    stats.active, stats.inactive = int(active), int(not active)


@pytest.mark.parametrize(("path", "state", "event", "expected"), CASES)
def test_transition(path, state, event, expected):
    rig = rig_of(path)
    force(rig, state)
    if path == "server":
        wan, lan = rig.exchange(1, from_server(EVENTS[event]))
        assert (len(wan), lan) == (1, [])
    else:
        wan, lan = rig.exchange(0, from_client(EVENTS[event]))
        assert (wan, len(lan)) == ([], 1)
    e = entry(rig)
    assert SHORT[e.state] == expected
    # The timeout is loaded when the state changes, not by packets that leave it as it is.
    assert e.timeout == (TIMEOUTS[expected] if expected != state else 55)
    active = expected == "ES"
    assert counts(rig) == (active, not active)
    assert bool(e.flags & ACTIVE) == active


@pytest.mark.parametrize("path", ["client", "server", "dr"])
@pytest.mark.parametrize(
    ("flags", "event"), [("SA", "syn"), ("FRA", "rst"), ("RA", "rst"), ("PA", "ack"), ("F", "fin")]
)
def test_priority_of_flags(path, flags, event):
    rig = rig_of(path)
    state = "FW"
    expected = next(c[3] for c in CASES if c[:3] == (path, state, event))
    force(rig, state)
    send = (1, from_server(flags)) if path == "server" else (0, from_client(flags))
    rig.exchange(*send)
    assert SHORT[entry(rig).state] == expected


@pytest.mark.parametrize("flags", ["SF", "SR", "SFRA", "SRA", "SFPU"])
@pytest.mark.parametrize("path", ["client", "server", "dr"])
def test_illegal_flags_change_nothing_and_go_nowhere(path, flags):
    rig = rig_of(path)
    force(rig, "ES")
    before = rig.drops().get("tcp_flags", 0)
    send = (1, from_server(flags)) if path == "server" else (0, from_client(flags))
    assert rig.exchange(*send) == [[], []]
    assert rig.drops() == {"tcp_flags": before + 1}
    assert SHORT[entry(rig).state] == "ES" and rig.in_flight() == 0


@pytest.mark.parametrize("flags", ["", "P", "U"])
@pytest.mark.parametrize("state", SHORT)
def test_no_flag_of_the_four_changes_nothing(state, flags):
    """The reference closes the connection; then anybody who guesses the tuple could."""
    rig = rig_of("client")
    force(rig, state)
    _, lan = rig.exchange(0, from_client(flags))
    assert len(lan) == 1 and SHORT[entry(rig).state] == state


@pytest.mark.parametrize("flags", ["A", "F", "R", "SA", "", "FA", "RA", "PA"])
def test_only_a_syn_opens(flags):
    rig = network(Rig())
    service(rig, [dest(0)])
    assert rig.exchange(0, from_client(flags)) == [[], []]
    assert rig.drops() == {"not_syn": 1} and rig.applier.connections() == 0


@pytest.mark.parametrize("flags", ["SF", "SR", "SFR"])
def test_illegal_flags_open_nothing(flags):
    rig = network(Rig())
    service(rig, [dest(0)])
    assert rig.exchange(0, from_client(flags)) == [[], []]
    assert rig.drops() == {"tcp_flags": 1} and rig.applier.connections() == 0


def test_syn_with_ecn_flags_opens():
    rig = network(Rig())
    service(rig, [dest(0)])
    _, lan = rig.exchange(0, from_client("SEC"))
    assert len(lan) == 1


def test_a_whole_connection():
    rig = network(Rig())
    service(rig, [dest(0, mode="nat", port=80)])
    seen = []
    for port, flags in (
        (0, "S"), (1, "SA"), (0, "A"), (0, "PA"), (1, "A"), (0, "FA"), (1, "FA"), (0, "A"),
    ):  # fmt: skip
        rig.exchange(port, (from_server if port else from_client)(flags))
        seen.append((TCP_STATES[entry(rig).state], *counts(rig)))
    assert seen == [
        ("SYN_RECV", 0, 1), ("SYN_RECV", 0, 1), ("TCP_EST", 1, 0), ("TCP_EST", 1, 0),
        ("TCP_EST", 1, 0), ("CLOSE_WAIT", 0, 1), ("TIME_WAIT", 0, 1), ("TIME_WAIT", 0, 1),
    ]  # fmt: skip


def test_configured_timeouts():
    rig = network(Rig())
    service(rig, [dest(0, mode="nat", port=80)], conn_timeout=1234)
    rig.apply("param.set", tcp_timeouts={"syn_recv": 11, "close": 4})
    rig.exchange(0, from_client("S"))
    assert entry(rig).timeout == 11
    rig.exchange(0, from_client("A"))
    assert entry(rig).timeout == 1234  # the service's own, in ESTABLISHED only
    rig.exchange(0, from_client("R"))
    assert entry(rig).timeout == 4


def test_udp():
    rig = network(Rig())
    service(rig, [dest(0, mode="nat", port=80)], proto="udp")
    rig.apply("param.set", udp_timeouts={"oneway": 20, "normal": 40})
    seen = []
    for port in (0, 0, 1, 0, 1):
        rig.exchange(port, (from_server if port else from_client)("", "udp"))
        seen.append((entry(rig).state, entry(rig).timeout, *counts(rig)))
    assert seen == [(1, 20, 0, 1)] * 2 + [(2, 40, 0, 1)] * 3
    assert Table(rig.w.table).count == 1


def test_udp_with_a_timeout_of_the_service():
    rig = network(Rig())
    service(rig, [dest(0, mode="nat", port=80)], proto="udp", conn_timeout=99)
    rig.exchange(0, from_client("", "udp"))
    assert entry(rig).timeout == 99
    rig.exchange(1, from_server("", "udp"))
    assert entry(rig).timeout == 99
