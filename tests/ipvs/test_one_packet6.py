"""One-packet services for IPv6 clients, in every mode; see test_one_packet.py."""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.dest import STATS_SIZE, DestStats
from ipvs.laddr import LADDR_STATS_SIZE, LaddrStats
from ipvs.table import Table
from tests import oracle
from tests.audit import audit
from tests.fragments import cut
from tests.fragments6 import cut6
from tests.rig import Rig
from tests.topology import SERVER_MACS, SERVERS, VIP, WAN_MAC, dest, service
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    LOCAL6,
    SERVERS6,
    VIP6,
    dest6,
    frame6,
    from_server,
    network6,
    rewritten6,
    service6,
    to_server,
)
from tests.topology64 import as_ipv4, encapsulated
from tests.wire import tuple_of

KINDS = ["fullnat", "nat", "dr", "nat64", "6in6", "6in4", "4in6"]
SPORT = 1234


def one_packet(kind, **changes):
    """A rig with a one-packet service over two servers; its local addresses: IPv4 0, IPv6 1."""
    rig = network6(Rig(), ipv4=True)
    mode = {"nat64": "fullnat"}.get(kind, "tunnel" if "in" in kind else kind)
    inside = dest if kind in ("nat64", "6in4") else dest6
    port = 80 if mode in ("tunnel", "dr") else 8080
    dests = [inside(i, mode=mode, port=port) for i in range(2)]
    options = {"proto": "udp", "flags": ["ops"], "laddrs": [0, 1]} | changes
    (service if kind == "4in6" else service6)(rig, dests, **options)
    return rig


def question(kind, payload=b"question"):
    layer = UDP(sport=SPORT, dport=80) / Raw(payload)
    if kind == "4in6":
        return oracle.frame(FROM_CLIENT, ("203.0.113.7", VIP), layer)
    return frame6(FROM_CLIENT, (CLIENT6, VIP6), layer)


def expected(kind, frame, sent, index):
    """What must leave for server ``index``; ids and the local port are the balancer's to choose."""
    if kind == "fullnat":
        source = (LOCAL6, Ether(sent)[UDP].sport)
    elif kind == "nat":
        source = (CLIENT6, SPORT)
    elif kind == "dr":
        return rewritten6(frame, to_server(index), (CLIENT6, SPORT), (VIP6, 80))
    elif kind == "nat64":
        return as_ipv4(frame, sent)
    else:
        return encapsulated(kind, frame, sent)
    return rewritten6(frame, to_server(index), source, (SERVERS6[index], 8080))


def statistics(rig, index):
    stats = DestStats(rig.w.dest_stats + index * STATS_SIZE)
    return stats.conns, stats.packets[0], stats.active, stats.inactive


@pytest.mark.parametrize("kind", KINDS)
def test_each_packet_goes_to_the_next_server_and_nothing_is_kept(kind):
    rig = one_packet(kind)
    frame = question(kind)
    wan, lan = rig.exchange(0, *[frame] * 6)
    assert wan == [] and len(lan) == 6 and rig.drops() == {}
    servers = [SERVER_MACS.index(sent[:6].hex(":")) for sent in lan]
    assert servers in ([0, 1] * 3, [1, 0] * 3)
    for sent, index in zip(lan, servers, strict=True):
        if index == 0 or kind in ("fullnat", "nat", "dr"):
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


@pytest.mark.parametrize("kind", ["fullnat", "nat64", "4in6"])
def test_only_the_first_fragment_of_a_datagram_finds_its_way(kind):
    """Nothing is kept that the others could follow; nothing is lost of ours either."""
    rig = one_packet(kind)
    frame = question(kind, bytes(200))
    parts = cut(frame, [8, 16]) if kind == "4in6" else cut6(frame, [8, 16], 7)
    _, lan = rig.exchange(0, *parts)
    assert len(lan) == 1 and rig.drops() == {"frag_lost": 2}
    assert Table(rig.w.table).count == 0 and rig.in_flight() == 0 and audit(rig.address) == []


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
