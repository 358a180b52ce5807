"""Fragments of datagrams to one-packet services: each datagram goes whole to one real server."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from ipvs.datagrams import LIFE_MS, SETS, WAYS, Datagrams
from ipvs.laddr import LADDR_STATS_SIZE, LaddrStats
from ipvs.table import Table
from tests import fragments, oracle
from tests.audit import audit
from tests.fragments6 import cut6, joined6
from tests.one_packet import (
    KINDS4,
    KINDS6,
    expected,
    mode_of,
    one_packet,
    question,
    server_of,
    statistics,
)
from tests.pathrig import FAR, LAN, MACS, OUTSIDE, server, server_mac
from tests.pathrig import Rig as SnatRig
from tests.rig import Rig, connect, go_round
from tests.topology import LOCAL, SERVERS
from tests.topology6 import from_server

KINDS = KINDS4 + KINDS6
ORDERS = list(itertools.permutations(range(3)))
_idents = itertools.count(0x10001)


def text(size):
    return bytes(i * 7 + (i >> 8) & 255 for i in range(size))


class Question:
    """A large question and its fragments."""

    def __init__(self, kind, size=200, at=(8, 16), ident=None):
        self.kind, self.ident = kind, next(_idents) if ident is None else ident
        ip = {"id": self.ident & 0xFFFF} if kind in KINDS4 else {}
        self.frame = question(kind, text(size), **ip)
        at = sorted(at)
        four = kind in KINDS4
        self.parts = fragments.cut(self.frame, at) if four else cut6(self.frame, at, self.ident)

    def is_in(self, sent):
        """Whether the frames sent are this question's, all of it, to one real server."""
        (index,) = {server_of(frame) for frame in sent}
        if mode_of(self.kind) == "tunnel":
            wanted = {expected(self.kind, part, frame, index)
                      for part, frame in itertools.product(self.parts, sent)}  # fmt: skip
            return len(set(sent)) == len(self.parts) and set(sent) <= wanted
        if self.kind in KINDS4 or self.kind == "nat64":
            whole = fragments.joined(sent)
            assert Ether(whole)[IP].id == self.ident & 0xFFFF
        else:
            whole = joined6(sent, self.ident)
        wanted = expected(self.kind, self.frame, whole, index)
        if self.kind == "nat64":  # a datagram that came in fragments may be cut up further
            wanted = Ether(wanted)
            wanted[IP].flags = 0
            del wanted[IP].chksum
        return whole == bytes(wanted)


def is_clean(rig):
    """Nothing is kept or lost; the books agree."""
    assert rig.applier.connections() == Table(rig.w.table).count == 0
    assert Datagrams(rig.w.datagrams).kept == 0 and rig.in_flight() == 0
    assert all(LaddrStats(rig.w.laddr_stats + i * LADDR_STATS_SIZE).used == 0 for i in range(2))
    return audit(rig.address) == []


@functools.cache
def shared(kind):
    return one_packet(kind)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_two_datagrams_at_once_go_to_a_server_each(kind, order):
    """One client, one port, one after another: rr takes turns by datagram."""
    rig = one_packet(kind)
    both = [Question(kind), Question(kind)]
    sent = []
    for i in order:
        sent += rig.at_once(0, *[each.parts[i] for each in both])[1]
    groups = [[raw for raw in sent if server_of(raw) == index] for index in range(2)]
    first = both if both[0].is_in(groups[0]) else both[::-1]
    assert [each.is_in(group) for each, group in zip(first, groups, strict=True)] == [True] * 2
    assert [statistics(rig, i) for i in range(2)] == [(1, 3, 0, 0)] * 2
    assert rig.drops() == {} and is_clean(rig)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6)
@given(data=st.data())
def test_any_split_in_any_order(kind, data):
    rig = shared(kind)
    size = data.draw(st.integers(40, 5000) | st.integers(40, 200))
    at = data.draw(st.sets(st.integers(2, size // 8), min_size=1, max_size=9))
    asked = Question(kind, size, at | set(range(150, size // 8, 150)))
    wan, lan = rig.at_once(0, *data.draw(st.permutations(asked.parts)))
    assert wan == [] and asked.is_in(lan) and rig.drops() == {} and is_clean(rig)


@pytest.mark.parametrize("kind", ["fullnat4", "nat64", "6in6"])
def test_what_comes_before_the_first_waits_for_it_and_not_longer_than_others(kind):
    rig = one_packet(kind)
    rig.at(1000)
    asked = Question(kind)
    rig.push(0, *asked.parts[1:])
    assert rig.at(1000) == [[], []]
    assert Datagrams(rig.w.datagrams).waiting == 2 and Table(rig.w.table).count == 0
    rig.at(1000 + LIFE_MS, rounds=20)
    assert rig.drops() == {"frag_timeout": 2} and is_clean(rig)


@pytest.mark.parametrize("kind", KINDS)
def test_a_datagram_that_is_not_complete_is_given_up_in_time(kind):
    """Two seconds after its last fragment the connection ends, and the port comes back."""
    rig = one_packet(kind)
    rig.at(1000)
    asked = Question(kind)
    sent = []
    for when, part in ((1000, 0), (1000 + LIFE_MS - 1, 2)):
        rig.push(0, asked.parts[part])
        sent += rig.at(when, rounds=20)[1]
    rig.at(1000 + 2 * LIFE_MS - 2, rounds=20)
    assert len(sent) == 2 and len({raw[:6] for raw in sent}) == 1
    used = sum(LaddrStats(rig.w.laddr_stats + i * LADDR_STATS_SIZE).used for i in range(2))
    assert used == (1 if mode_of(kind) == "fullnat" else 0)
    assert sum(statistics(rig, i)[3] for i in range(2)) == Datagrams(rig.w.datagrams).kept == 1
    assert audit(rig.address) == []
    rig.at(1000 + 2 * LIFE_MS - 1, rounds=20)
    assert rig.drops() == {} and is_clean(rig)


@pytest.mark.parametrize("kind", ["fullnat4", "nat", "nat64"])
def test_nobody_finds_the_connection_of_a_datagram_on_its_way(kind):
    """Neither answers nor the same client's next question, which goes to the next server."""
    rig = one_packet(kind)
    asked = Question(kind)
    (sent,) = rig.at_once(0, asked.parts[0])[1]
    (other,) = rig.at_once(0, question(kind))[1]
    assert server_of(other) != server_of(sent)
    if kind == "fullnat4":
        back = oracle.frame(
            from_server(), (SERVERS[0], LOCAL), UDP(sport=8080, dport=Ether(sent)[UDP].sport)
        )
        assert rig.at_once(1, back) == [[], []] and rig.drops() == {"no_service": 1}
    assert asked.is_in([sent, *rig.at_once(0, *asked.parts[1:])[1]]) and is_clean(rig)


@pytest.mark.parametrize("kind", ["fullnat4", "nat", "nat64", "4in6"])
def test_the_way_of_a_datagram_stays_when_the_servers_change(kind):
    rig = one_packet(kind)
    asked = Question(kind)
    sent = rig.at_once(0, asked.parts[0])[1]
    one_packet(kind, rig, dests=[])
    assert rig.at_once(0, question(kind)) == [[], []] and rig.drops() == {"no_dest": 1}
    assert asked.is_in(sent + rig.at_once(0, *asked.parts[1:])[1]) and is_clean(rig)


@pytest.mark.parametrize("kind", KINDS)
def test_rfc5722_overlap_ends_the_datagram_and_its_connection(kind):
    rig = one_packet(kind)
    asked = Question(kind)
    evil = Question(kind, at=(9, 15), ident=asked.ident)
    assert len(rig.at_once(0, *asked.parts[:2])[1]) == 2
    assert Table(rig.w.table).count == 1
    assert rig.at_once(0, evil.parts[1], asked.parts[2]) == [[], []]
    assert rig.drops() == {"frag_overlap": 1, "frag_refused": 1} and is_clean(rig)


def test_rfc5722_overlapping_fragments_that_come_before_the_first():
    for kind in ("fullnat4", "nat64"):
        rig = one_packet(kind)
        asked = Question(kind)
        evil = Question(kind, at=(9, 15), ident=asked.ident)
        assert rig.at_once(0, asked.parts[1], evil.parts[1], asked.parts[0]) == [[], []]
        assert rig.drops() == {"frag_overlap": 1, "frag_refused": 2} and is_clean(rig)


@pytest.mark.parametrize("kind", ["nat4", "fullnat", "nat64"])
def test_a_duplicate_is_dropped_and_a_complete_datagram_forgotten(kind):
    rig = one_packet(kind)
    asked = Question(kind)
    one, two, three = asked.parts
    _, lan = rig.at_once(0, one, two, one, two, three)
    assert asked.is_in(lan) and rig.drops() == {"frag_duplicate": 2}
    # RFC 6864: the identification may be used again; it is the next server's turn.
    _, again = rig.at_once(0, *asked.parts)
    assert asked.is_in(again) and server_of(again[0]) != server_of(lan[0]) and is_clean(rig)


@pytest.mark.parametrize("kind", ["fullnat4", "nat64"])
def test_a_first_fragment_that_cannot_leave_leaves_nothing_either(kind):
    rig = one_packet(kind)
    rig.apply("route.del", dst="198.19.0.0", plen=24)
    rig.apply("route.del", dst="0.0.0.0", plen=0)
    asked = Question(kind)
    assert rig.at_once(0, *asked.parts[1:], asked.parts[0]) == [[], []]
    assert rig.drops() == {"dest_route": 1, "frag_refused": 2} and is_clean(rig)


@pytest.mark.parametrize("kind", ["fullnat4", "nat64"])
def test_what_a_dead_worker_kept_is_free_for_the_next(kind):
    dead = one_packet(kind)
    dead.at_once(0, Question(kind).parts[0])
    assert Datagrams(dead.w.datagrams).kept == 1
    rig = one_packet(kind, Rig(memory=dead.shared, table_memory=dead.table_memory))
    assert is_clean(rig)
    asked = Question(kind)
    assert asked.is_in(rig.at_once(0, *asked.parts)[1]) and is_clean(rig)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["fullnat4", "nat64"])
def test_a_flood_of_first_fragments_keeps_no_more_than_the_table_has_records(kind):
    rig = one_packet(kind, Rig(capacity=4 * SETS * WAYS))
    now = rig.stack.now
    for number in range(2 * SETS * WAYS):
        rig.push(0, Question(kind).parts[0])
        if number % 32 == 31:
            rig.at(now)
    kept = Datagrams(rig.w.datagrams).kept
    assert SETS < kept <= SETS * WAYS and Table(rig.w.table).count == kept
    assert audit(rig.address) == [] and rig.drops() == {}
    rig.at(now + LIFE_MS, rounds=20)
    assert is_clean(rig)


# Several workers


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("kind", ["fullnat4", "nat4", "nat", "6in4"])
def test_fragments_reach_the_owner_wherever_they_arrive(kind, workers):
    """NAT has an owner by the client; of others the worker where they arrive is asked last."""
    first = one_packet(kind, Rig(workers=workers))
    rigs = [first, *(one_packet(kind, Rig(index=n, workers=workers, pool=first.pool))
                     for n in range(1, workers))]  # fmt: skip
    kept = connect(rigs)
    for arrives, order in itertools.product(rigs, ORDERS[::2]):
        asked = Question(kind)
        arrives.push(0, *[asked.parts[i] for i in order])
        wan, lan = go_round(rigs)
        assert wan == [] and asked.is_in(lan)
    assert [each.drops() for each in rigs] == [{}] * workers and kept
    assert all(is_clean(each) for each in rigs)


# SNAT


def test_a_datagram_out_through_one_packet_snat_gives_its_port_back():
    rig = SnatRig()
    rig.snat(0, "udp", flags=["ops"])
    ports = set()
    for order in ORDERS[:3]:
        ip = IP(src=server(0), dst=FAR, id=next(_idents) & 0xFFFF)
        frame = Ether(src=server_mac(0), dst=MACS[LAN]) / ip / UDP(sport=5000, dport=53)
        frame = bytes(frame / text(300))
        parts = fragments.cut(frame, [10, 20])
        wan, lan = rig.exchange(LAN, *[parts[i] for i in order])
        whole = fragments.joined(wan)
        port = Ether(whole)[UDP].sport
        macs = whole[6:12].hex(":"), whole[:6].hex(":")
        assert lan == []
        assert whole == oracle.rewritten(frame, macs, (OUTSIDE, port), (FAR, 53))
        ports.add(port)
    assert len(ports) == 3 and rig.connections() == 0 and rig.drops() == {}
    assert LaddrStats(rig.w.laddr_stats + 8 * LADDR_STATS_SIZE).used == 0 and rig.clean()
