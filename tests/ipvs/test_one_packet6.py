"""One-packet services for IPv6 clients, in every mode; see test_one_packet.py."""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from ipvs.laddr import LADDR_STATS_SIZE, LaddrStats
from ipvs.table import Table
from tests import oracle
from tests.audit import audit
from tests.one_packet import expected, one_packet, question, server_of, statistics
from tests.rig import Rig
from tests.topology import SERVERS, WAN_MAC
from tests.topology6 import (
    CLIENT6,
    LOCAL6,
    SERVERS6,
    dest6,
    frame6,
    from_server,
    network6,
    service6,
)
from tests.wire import tuple_of

KINDS = ["fullnat", "nat", "dr", "nat64", "6in6", "6in4", "4in6"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_packet_goes_to_the_next_server_and_nothing_is_kept(kind):
    rig = one_packet(kind)
    frame = question(kind)
    wan, lan = rig.exchange(0, *[frame] * 6)
    assert wan == [] and len(lan) == 6 and rig.drops() == {}
    servers = [server_of(sent) for sent in lan]
    assert servers in ([0, 1] * 3, [1, 0] * 3)
    for sent, index in zip(lan, servers, strict=True):
        assert sent == expected(kind, frame, sent, index)
    assert [statistics(rig, i) for i in range(2)] == [(3, 3, 0, 0)] * 2
    assert rig.applier.connections() == Table(rig.w.table).count == 0
    assert all(LaddrStats(rig.w.laddr_stats + i * LADDR_STATS_SIZE).used == 0 for i in range(2))
    assert audit(rig.address) == [] and rig.in_flight() == 0
    rig.at(rig.stack.now + 400_000)
    assert rig.applier.connections() == 0 and audit(rig.address) == []


def test_local_ports_come_back_as_late_as_possible_and_answers_belong_to_nothing():
    for kind in ("fullnat", "nat64"):
        rig = one_packet(kind)
        _, lan = rig.exchange(0, *[question(kind)] * 5)
        ports = [Ether(sent)[UDP].sport for sent in lan]
        assert len(set(ports)) == 5
        if kind == "fullnat":
            layer = UDP(sport=8080, dport=ports[0])
            reply = frame6(from_server(), (SERVERS6[0], LOCAL6), layer)
        else:
            sent = tuple_of(lan[0])
            layer = UDP(sport=8080, dport=sent.sport)
            reply = oracle.frame(from_server(), (SERVERS[0], sent.src), layer)
        assert rig.exchange(1, reply) == [[], []] and rig.drops() == {"no_service": 1}


def test_an_edit_begins_to_keep_connections():
    rig = one_packet("fullnat")
    rig.exchange(0, question("fullnat"))
    service6(rig, [dest6(i) for i in range(2)], proto="udp", laddrs=[0, 1])
    first = [rig.exchange(0, question("fullnat"))[1][0] for _ in range(3)]
    assert len({sent[:6] for sent in first}) == 1 and rig.applier.connections() == 1
    assert audit(rig.address) == []


def test_a_packet_that_cannot_leave_leaves_nothing_either():
    rig = one_packet("nat64")
    rig.apply("route.set", dst="198.19.0.0", plen=24, kind="link", dev=1, src="198.19.0.1", mtu=576)
    (error,), lan = rig.exchange(0, question("nat64", bytes(1300)))
    assert lan == [] and Ether(error)[IPv6].dst == CLIENT6
    rig.apply("route.del", dst="198.19.0.0", plen=24)
    rig.apply("route.del", dst="0.0.0.0", plen=0)
    assert rig.exchange(0, question("nat64")) == [[], []]
    assert rig.drops() == {"ip6_too_big": 1, "dest_route": 1}
    assert Table(rig.w.table).count == 0 and audit(rig.address) == []


def test_one_packet_out_through_snat6_gives_its_port_back():
    rig = network6(Rig(), ipv4=True)
    outside = "2001:db8:1::9"
    rig.apply("route.set", dst=outside, plen=128, kind="local", dev=0)
    rig.apply("laddr.set", id=8, addr=outside, dev=0)
    anything = ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    service6(
        rig, [dest6(0, addr=outside, port=0, mode="snat", pool=8)], proto="udp", addr="::", port=0,
        flags=["ops"], laddrs=[], match={"src": anything, "dst": anything, "sport": (0, 65535),
        "dport": (0, 65535), "iif": 1, "oif": None, "order": 0},
    )  # fmt: skip
    frame = frame6(from_server(), (SERVERS6[0], CLIENT6), UDP(sport=5000, dport=53))
    ports = []
    for _ in range(3):
        (sent,), _ = rig.exchange(1, frame)
        got = Ether(sent)
        assert (got.src, got[IPv6].src, got[IPv6].dst) == (WAN_MAC, outside, CLIENT6)
        ports.append(got[UDP].sport)
    assert len(set(ports)) == 3 and rig.applier.connections() == 0
    assert LaddrStats(rig.w.laddr_stats + 8 * LADDR_STATS_SIZE).used == 0
    assert Table(rig.w.table).count == 0 and audit(rig.address) == []
