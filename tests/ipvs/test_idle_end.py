"""An established connection that was idle for too long: both ends are told, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipvs.dest import DestStats
from ipvs.entry import FIRST_KNOWN, TOLD
from ipvs.tcp import ENDING, EST, SYN_RECV, SYN_SENT
from runtime.jit import JIT
from stack.neigh import NeighbourTable
from tests import two_ends
from tests.audit import audit
from tests.rig import Rig
from tests.two_ends import KINDS, MASK, Connection
from tools.daemon.listing import connections

HALF = 1 << 31


def counters(made):
    w = made.rig.w
    return w.idle_probed, w.idle_resets, w.idle_untold


def alive(made):
    return made.rig.applier.connections()


def probes(made, away=0):
    """What (client, server) are asked with: the number of the other's SYN, or far away from it."""
    client, server = made.ends
    return (
        [client.gets("A", client.heard + away, client.isn + 1)],
        [server.gets("A", server.heard + away, server.isn + 1)],
    )


def gone(made):
    """The connection is gone within the time of the wheel, and nothing is left of it."""
    assert made.at(600) == ([], []) and alive(made) == 0
    assert made.rig.in_flight() == 0 and audit(made.rig.address) == []
    stats = DestStats(made.rig.w.dest_stats)
    assert (stats.active, stats.inactive) == (0, 0)
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_both_ends_are_asked_and_reset(kind):
    made = Connection(kind, isn=MASK, server_isn=0).open()
    client, server = made.ends
    shifted = kind in ("fullnat", "fullnat6", "nat64")
    assert (server.heard != client.isn) == shifted
    stats = [DestStats(made.rig.w.dest_stats).packets[i] for i in range(2)]
    assert made.expire() == probes(made)
    assert made.entry.state == ENDING and alive(made) == 1
    # Both expect what nobody here noted; their answers tell it.
    assert made.say(client, "A", 77, 123_456) == ([client.gets("R", 123_456)], [])
    assert made.say(server, "A", 78, 4_000_000_000) == ([], [server.gets("R", 4_000_000_000)])
    assert counters(made) == (1, 2, 0) and made.rig.drops() == {"idle_end": 2}
    assert stats == [DestStats(made.rig.w.dest_stats).packets[i] for i in range(2)]
    assert gone(made)


@pytest.mark.parametrize("kind", KINDS)
def test_ends_that_stay_silent_are_asked_three_times(kind):
    made = Connection(kind).open()
    asked = [made.expire()]
    for _ in range(8):
        asked.append(made.at(500))
    asked = [one for one in asked if one != ([], [])]
    assert asked == [probes(made), probes(made, HALF), probes(made)]
    assert gone(made) and counters(made) == (1, 0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_an_end_that_forgot_ends_its_side_only(kind):
    made = Connection(kind).open()
    made.expire()
    assert made.say(made.server, "R", 5) == ([], [])
    assert made.at(1100) == (probes(made, HALF)[0], [])
    (reset,), nothing = made.say(made.client, "PA", 9, 10)
    assert reset == made.client.gets("R", 10) and nothing == []
    assert gone(made) and counters(made) == (1, 1, 0)


def test_an_end_that_did_not_hear_the_reset_gets_it_again():
    made = Connection("fullnat").open()
    made.expire()
    for ack in (10, 11):
        assert made.say(made.client, "A", 1, ack) == ([made.client.gets("R", ack)], [])
    assert made.at(1100)[0] == [] and made.entry.marks & (TOLD * 3) == TOLD


@pytest.mark.parametrize("flags", ["", "F", "P", "U"])
def test_rfc9293_segments_without_ack_are_no_answer(flags):
    made = Connection("nat").open()
    made.expire()
    assert made.say(made.server, flags, 1, 2) == ([], [])
    assert made.rig.drops() == {"idle_end": 1} and made.entry.marks & (TOLD * 3) == 0


def test_illegal_flags_have_their_own_name():
    made = Connection("nat").open()
    made.expire()
    assert made.say(made.server, "SF", 1, 2) == ([], [])
    assert made.rig.drops() == {"tcp_flags": 1} and made.entry.state == ENDING


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("told", [0, 2])
def test_a_new_syn_reuses_the_tuple(kind, told):
    made = Connection(kind).open()
    made.expire()
    for end in made.ends[:told]:
        made.say(end, "A", 1, 2)
    wan, lan = made.say(made.client, "S", 7_000)
    assert (len(wan), len(lan)) == (0, 1)
    assert made.entry.state == (SYN_SENT if "snat" in kind else SYN_RECV)
    made.client.isn, made.server.isn = 7_000, 9_000
    made.at(1000)
    assert alive(made) == 1
    if "snat" in kind:
        made.at(-900)  # SYN_SENT lives for 3 s only
    made.open()
    assert made.entry.state == EST
    assert made.expire() == probes(made)


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_servers_answer_it_ends_silently(kind):
    made = Connection(kind)
    made.say(made.client, "S", 1)
    made.say(made.client, "A", 2, 3)
    assert made.entry.marks & FIRST_KNOWN == 0
    assert made.expire() == ([], []) and gone(made) and counters(made) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["dr", "tunnel"])
def test_one_sided_modes_end_silently(mode):
    made = Connection("fullnat")
    two_ends.service(made.rig, [two_ends.dest(0, mode=mode)])
    made.say(made.client, "S", 1)
    made.say(made.client, "A", 2, 3)
    assert made.entry.state == EST
    assert made.expire() == ([], []) and gone(made)


@pytest.mark.parametrize("weight", [0, 1])
def test_expire_quiescent_with_its_server_gone(weight):
    made = Connection("fullnat", flags=["expire_quiescent"]).open()
    two_ends.service(made.rig, [two_ends.dest(0, weight=weight)], flags=["expire_quiescent"])
    assert made.expire() == (probes(made) if weight else ([], []))
    assert alive(made) == weight


@pytest.mark.parametrize("after", ["F", "R"])
def test_closed_connections_end_silently(after):
    made = Connection("fullnat").open()
    made.say(made.client, after + "A" * (after == "F"), 1001, 500_001)
    assert made.expire(7 if after == "F" else 3) == ([], []) and gone(made)


def test_traffic_puts_it_off():
    made = Connection("fullnat").open()
    for _ in range(3):
        assert made.at(80_000) == ([], [])
        client, server = made.say(made.server, "A", 500_001, made.server.heard + 1)
        assert len(client) == 1 and server == []
    assert made.entry.state == EST and counters(made) == (0, 0, 0)


def test_it_is_listed_as_closed_and_not_active():
    made = Connection("fullnat").open()
    made.expire()
    (row,) = connections(made.rig.address, 0, 10, None)["conns"]
    assert (row["state"], row["expire"]) == ("TCP_CLOSE", 3)
    stats = DestStats(made.rig.w.dest_stats)
    assert (stats.active, stats.inactive) == (0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_takes_over_goes_on_telling(kind):
    old = Connection(kind).open()
    old.expire()
    old.say(old.client, "A", 1, 2)
    rig = Rig(memory=old.rig.shared, table_memory=old.rig.table_memory, now=old.rig.stack.now,
              capacity=64)  # fmt: skip
    new = Connection(kind, rig=rig)
    new.client, new.server = old.ends
    assert alive(new) == 1 and new.entry.state == ENDING
    assert new.say(new.server, "A", 1, 9) == ([], [new.server.gets("R", 9)])
    assert gone(new) and counters(new) == (1, 2, 0)


def test_without_mbufs_it_ends_silently():
    made = Connection("fullnat").open()
    kept = [made.rig.pool.free.popleft() for _ in range(len(made.rig.pool.free))]
    assert made.expire() == ([], [])
    assert alive(made) == 0 and counters(made) == (0, 0, 1)
    assert made.rig.drops() == {"no_mbuf": 2}
    made.rig.pool.free.extend(kept)
    assert gone(made)


def test_without_a_way_to_either_end_it_ends_silently():
    made = Connection("fullnat").open()
    for dst, plen, dev in (("0.0.0.0", 0, 0), ("198.19.0.0", 24, 1)):
        made.rig.apply("route.del", dst=dst, plen=plen, dev=dev)
    assert made.expire() == ([], []) and gone(made) and counters(made) == (0, 0, 1)


def test_probes_wait_for_neighbours():
    made = Connection("fullnat").open()
    made.rig.apply("neigh.del", addr=made.server.name[0], dev=1)
    client, (request,) = made.expire()
    assert client == probes(made)[0] and request[12:14] == b"\x08\x06"
    made.rig.apply("neigh.set", addr=made.server.name[0], dev=1, mac=made.server.mac, static=True)
    assert made.at(1) == ([], probes(made)[1])


def test_a_full_queue_of_a_neighbour_loses_the_probe_only():
    made = Connection("fullnat").open()
    made.rig.apply("neigh.del", addr=made.server.name[0], dev=1)
    NeighbourTable(made.rig.stack.neighbours).queue_limit = 0
    assert made.expire()[0] == probes(made)[0]
    assert made.rig.drops() == {"neigh_queue": 1} and made.rig.in_flight() == 0


def test_a_reused_tuple_without_an_answer_ends_silently():
    """What the connection before it was told does not count."""
    made = Connection("nat").open()
    made.expire()
    made.say(made.client, "S", 7_000)
    made.say(made.client, "A", 7_001, 5)
    assert made.entry.state == EST
    assert made.expire() == ([], []) and gone(made)


def test_the_work_of_a_round_is_bounded():
    made = Connection("fullnat", rig=Rig(now=two_ends.START, capacity=256))
    for number in range(40):
        made.client.name = (two_ends.CLIENT, 4000 + number)
        made.server.peer = ("", 0)
        made.open()
    assert alive(made) == 40
    for _ in range(89):
        made.at(1000)
    assert counters(made)[0] == 0
    made.rig.at(made.rig.stack.now + 1600, budget=16)
    assert counters(made)[0] == 4
    made.rig.at(made.rig.stack.now, rounds=9, budget=16)
    assert counters(made)[0] == 40
    made.rig.at(made.rig.stack.now + 4000, rounds=3)
    assert gone(made) and counters(made) == (40, 0, 40)


def receives(window, expects, seq):
    """RFC 9293 3.10.7.4: 1 when an end takes a segment without data as its own."""
    return (seq - expects) & MASK < window if window else seq == expects


@given(st.integers(0, MASK), st.integers(0, MASK), st.integers(0, 1 << 30))
def test_rfc7323_one_of_two_probes_is_out_of_every_window(isn, expects, window):
    assert not all(receives(window, expects, isn + away & MASK) for away in (0, HALF))


ANSWERS = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from(["A", "R", "RA", "S", "SA", "F", "FA", "PA", ""]),
        st.integers(0, MASK), st.integers(0, 1500), st.booleans(),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=30 if JIT else 15)
@given(st.sampled_from(KINDS), ANSWERS)
def test_nothing_is_left_whatever_the_ends_answer(kind, answers):
    made = Connection(kind).open()
    made.at(90_300)
    kept = []
    for of_client, flags, number, passed, scarce in answers:
        if scarce:
            kept += [made.rig.pool.free.popleft() for _ in range(len(made.rig.pool.free) - 1)]
        made.say(made.ends[0 if of_client else 1], flags, number, number ^ MASK)
        made.at(passed)
        assert audit(made.rig.address) == []
        made.rig.pool.free.extend(kept)
        kept.clear()
    for _ in range(4):
        made.at(100_000)
    assert gone(made)
