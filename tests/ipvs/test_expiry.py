"""Connections end when their time is up, and leave nothing behind."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipvs.dest import DestStats
from ipvs.entry import Entry
from ipvs.expire import remaining_ms
from ipvs.laddr import LaddrStats
from ipvs.table import Table, entry_of
from ipvs.tcp import EST, TCP_STATES, TCP_TIMEOUTS, UDP_NORMAL, StateTables
from runtime.jit import JIT
from runtime.wheel import SLOT_SHIFT
from tests import oracle
from tests.rig import Rig
from tests.topology import GATEWAY_MAC, VIP, WAN_MAC, dest, network, service

SLACK = 1000 + (3 << SLOT_SHIFT)  # how late the wheel may be, ms: it is armed in seconds
WRAP = 1 << 32
STARTS = (0, 5_000_000, WRAP - 10_000, WRAP // 2 - 10_000)


def packet(number, flags="S", proto="tcp"):
    """A packet of client ``number``."""
    layer = oracle.segment(proto, 1000 + number % 60000, 80, flags)
    return oracle.frame((GATEWAY_MAC, WAN_MAC), (f"203.0.{number % 250}.7", VIP), layer)


def balancer(now=0, proto="tcp", mode="fullnat", **changes):
    rig = network(Rig(now=now, capacity=256))
    service(rig, [dest(0, mode=mode)], proto=proto, **changes)
    return rig


def live(rig):
    return rig.applier.connections()


def assert_empty(rig, conns):
    """Counters are back where they were; ``conns`` were opened in all."""
    stats, pool, table = (
        DestStats(rig.w.dest_stats), LaddrStats(rig.w.laddr_stats), Table(rig.w.table),
    )  # fmt: skip
    assert (table.count, table.wheel.armed, table.expired) == (0, 0, conns)
    assert (stats.active, stats.inactive, stats.conns) == (0, 0, conns)
    assert (pool.used, pool.free) == (0, 65535 - 1025 + 1)
    index = table.index
    buckets = ctypes.string_at(index.buckets, 64 * index.count)
    # Tags and overflow counts are the first 24 bytes of a bucket.
    assert not any(any(buckets[at : at + 24]) for at in range(0, len(buckets), 64))


def send(rig, now, *frames):
    rig.push(0, *frames)
    return rig.at(now)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("mode", ["fullnat", "nat", "dr"])
def test_half_open_connection_ends_after_its_timeout(start, mode):
    rig = balancer(start, mode=mode)
    send(rig, start, packet(1))
    limit = TCP_TIMEOUTS["syn_recv"] * 1000
    rig.at(start + limit - 1)
    assert live(rig) == 1
    rig.at(start + limit + SLACK)
    assert_empty(rig, 1)


@pytest.mark.parametrize("start", STARTS)
def test_traffic_keeps_a_connection(start):
    rig = balancer(start)
    now = start
    send(rig, now, packet(1))
    for _ in range(20):
        now += 29_000
        send(rig, now, packet(1))
        assert live(rig) == 1
    rig.at(now + 30_000 + SLACK)
    assert_empty(rig, 1)


def test_shorter_timeout_after_a_state_change():
    """ESTABLISHED waits 90 s in the wheel; RST makes it 3 s at once."""
    rig = balancer()
    send(rig, 0, packet(1))
    send(rig, 100, packet(1, "A"))
    send(rig, 50_000, packet(1, "R"))
    rig.at(52_900)
    assert live(rig) == 1
    rig.at(53_000 + SLACK)
    assert_empty(rig, 1)


def test_timeout_longer_than_a_turn_of_the_wheel():
    rig = balancer(conn_timeout=5000, proto="udp")
    send(rig, 0, packet(1, proto="udp"))
    for now in range(0, 5_000_000, 100_000):
        rig.at(now)
        assert live(rig) == 1, now
    rig.at(5_000_000 + SLACK)
    assert_empty(rig, 1)


@pytest.mark.parametrize("jump", [31_000, 3_600_000, *([WRAP // 2 - 60_000] if JIT else [])])
def test_clock_jumps(jump):
    """A worker that stood still (a debugger, a suspended guest) ends what is due at once."""
    rig = balancer()
    send(rig, 0, *[packet(n) for n in range(30)])
    assert live(rig) == 30
    rig.at(jump + SLACK, rounds=2)
    assert_empty(rig, 30)


def test_full_table_refuses_and_recovers():
    rig = balancer()
    for burst in range(0, 256, 32):
        send(rig, 0, *[packet(n) for n in range(burst, burst + 32)])
    assert send(rig, 1, packet(999)) == [[], []]
    assert rig.drops() == {"conn_full": 1} and live(rig) == 256
    rig.at(30_000 + SLACK, rounds=5)
    assert_empty(rig, 256)
    _, lan = send(rig, 32_000, packet(999))
    assert len(lan) == 1 and live(rig) == 1


def test_budget_bounds_the_work_of_a_round():
    rig = balancer()
    for burst in range(0, 96, 32):
        send(rig, 0, *[packet(n) for n in range(burst, burst + 32)])
    rig.at(40_000, budget=10)
    assert live(rig) == 86
    rig.at(40_000, rounds=9, budget=10)
    assert_empty(rig, 96)


STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from("SARF"), st.integers(0, 40_000)), max_size=25
)


@settings(max_examples=15)
@given(st.sampled_from(STARTS), STEPS)
def test_against_a_naive_clock(start, steps):
    """Whoever was heard within the timeout of the state is there; others are gone."""
    rig, now, conns = balancer(start), start, 0
    model = {}  # client -> (state, last)
    seconds = {"SR": 30, "ES": 90, "CL": 3, "TW": 7, "CW": 7}
    after = {
        ("SR", "A"): "ES", ("SR", "F"): "TW", ("ES", "F"): "CW", ("TW", "A"): "TW",
        ("ES", "R"): "CL", ("TW", "R"): "CL", ("CW", "R"): "CL", ("TW", "S"): "SR",
        ("CW", "S"): "SR", ("CL", "S"): "SR",
    }  # fmt: skip
    for client, flags, passed in steps:
        now += passed
        rig.at(now, rounds=2)
        for known, (state, last) in list(model.items()):
            idle = now - last
            if idle >= seconds[state] * 1000 + SLACK:
                del model[known]
            elif idle >= seconds[state] * 1000 - SLACK:
                return  # too near to tell
        assert live(rig) == len(model)
        send(rig, now, packet(client, flags))
        if client in model:
            state = model[client][0]
            model[client] = (after.get((state, flags), state), now)
        elif flags == "S":
            model[client] = ("SR", now)
            conns += 1
    for passed in (40_000, 95_000):
        rig.at(now + passed, rounds=2)
    assert_empty(rig, conns)


def test_a_timeout_longer_than_the_clock_is_cut():
    rig = balancer(conn_timeout=2**31 - 1, proto="udp")
    send(rig, 1000, packet(1, proto="udp"))
    entry = entry_of(rig.w.table, 1)
    assert remaining_ms(entry, 1000) == Entry(entry).timeout * 1000 == 2_000_000_000
    assert remaining_ms(entry, 1000 + 1_999_999_999) == 1
    assert remaining_ms(entry, 1000 + 2_000_000_000) == 0


def test_changing_the_timeouts_of_one_protocol_leaves_the_others():
    rig = Rig()
    t = StateTables(rig.w.states)
    rig.apply("param.set", udp_timeouts={"normal": 50})
    rig.apply("param.set", tcp_timeouts={"established": 900})
    assert (t.udp_timeout[UDP_NORMAL], t.tcp_timeout[EST]) == (50, 900)
    rig.apply("param.set", udp_timeouts={"normal": 60})
    assert (t.udp_timeout[UDP_NORMAL], t.tcp_timeout[EST]) == (60, 900)


def test_a_services_own_timeout_is_that_of_established_tcp():
    rig = balancer(conn_timeout=500, mode="dr")
    entry = Entry(entry_of(rig.w.table, 1))
    seen = []
    for flags in ("S", "A", "A", "FA", "A"):
        rig.exchange(0, packet(0, flags))
        seen.append((TCP_STATES[entry.state], entry.timeout))
    assert seen[0] == ("SYN_RECV", 30) and seen[1] == seen[2] == ("TCP_EST", 500)
    assert seen[3] == ("FIN_WAIT", 7)
    # An edit is about connections that begin later.
    rig.exchange(0, packet(1))
    service(rig, [dest(0, mode="dr")], conn_timeout=0)
    rig.exchange(0, packet(1, "A"), packet(2), packet(2, "A"))
    assert [Entry(entry_of(rig.w.table, n)).timeout for n in (2, 3)] == [500, 90]
