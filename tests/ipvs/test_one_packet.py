"""One-packet services: every packet is scheduled anew and nothing is kept of it."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.dest import STATS_SIZE, DestStats
from ipvs.laddr import LADDR_STATS_SIZE, LaddrStats
from ipvs.table import Table
from tests import oracle
from tests.pathrig import (
    CLIENT,
    LADDR,
    LAN,
    LAN_ADDR,
    MACS,
    OUTSIDE,
    WAN,
    Rig,
    from_client,
    from_server,
    server,
    server_mac,
)
from tests.wire import tuple_of


def expected(mode, frame, sent, index):
    """What must leave for server ``index``; id and local port are the balancer's to choose."""
    inner = bytes(frame)[14:]
    macs = (MACS[LAN], server_mac(index))
    if mode == "tunnel":
        ident = int.from_bytes(sent[18:20], "big")
        outer = IP(src=LAN_ADDR, dst=server(index), proto=4, id=ident, ttl=inner[8], tos=inner[1])
        return bytes(Ether(src=macs[0], dst=macs[1]) / outer / Raw(inner))
    if mode == "dr":
        return bytes(Ether(src=macs[0], dst=macs[1]) / Raw(inner))[:12] + b"\x08\0" + inner
    source = (LADDR, tuple_of(sent).sport) if mode == "fullnat" else (CLIENT, 1234)
    return oracle.rewritten(bytes(frame), macs, source, (server(index), 8000 + index))


@pytest.mark.parametrize("mode", ["fullnat", "nat", "dr", "tunnel"])
def test_each_packet_goes_to_the_next_server_and_nothing_is_kept(mode):
    rig = Rig()
    rig.service(0, mode, "udp", dests=3, flags=["ops"])
    frame = from_client(UDP(sport=1234, dport=80) / Raw(b"question"))
    wan, lan = rig.exchange(WAN, *[frame] * 7)
    assert wan == [] and len(lan) == 7
    servers = [next(i for i in range(3) if sent[:6].hex(":") == server_mac(i)) for sent in lan]
    assert servers == [(servers[0] + i) % 3 for i in range(7)]
    assert lan == [expected(mode, frame, sent, i) for sent, i in zip(lan, servers, strict=True)]
    assert rig.connections() == 0 and rig.drops() == {} and rig.clean()
    for i in range(3):
        stats = DestStats(rig.w.dest_stats + i * STATS_SIZE)
        assert stats.conns == stats.packets[0] == servers.count(i)
        assert (stats.active, stats.inactive, stats.packets[1]) == (0, 0, 0)
    if mode == "fullnat":
        assert LaddrStats(rig.w.laddr_stats).used == 0
        ports = [tuple_of(sent).sport for sent in lan]
        assert len(set(ports)) == 7, "a port comes back into use as late as possible"
        # The answer belongs to nothing.
        back = from_server(UDP(sport=8000, dport=ports[0]))
        assert rig.exchange(LAN, back) == [[], []] and rig.drops() == {"no_service": 1}
    assert rig.after(400_000) is not None and rig.connections() == 0


def test_an_ordinary_service_beside_it_keeps_its_connections():
    rig = Rig()
    rig.service(0, "nat", "udp", flags=["ops"])
    rig.service(1, "nat", "udp", port=81, dests=[{"id": 1}])
    for _ in range(3):
        for port in (80, 81):
            rig.exchange(WAN, from_client(UDP(sport=1234, dport=port)))
    assert rig.connections() == 1
    # A service that is edited to keep connections does so from then on.
    rig.service(0, "nat", "udp", dests=[{"id": 0, "port": 9999}])
    rig.exchange(WAN, from_client(UDP(sport=1234, dport=80)))
    assert rig.connections() == 2 and rig.clean()


def test_a_packet_that_cannot_leave_leaves_nothing_either():
    rig = Rig()
    rig.service(0, "fullnat", "udp", flags=["ops"])
    rig.route("198.19.0.0/24", kind="link", dev=LAN, src=LAN_ADDR, mtu=576)
    rig.exchange(WAN, from_client(UDP(sport=1, dport=80) / Raw(bytes(700)), flags="DF"))
    rig.apply("route.del", dst="198.19.0.0", plen=24)
    rig.apply("route.del", dst="0.0.0.0", plen=0)
    rig.exchange(WAN, from_client(UDP(sport=1, dport=80)))
    assert rig.drops() == {"ip_too_big": 1, "dest_route": 1}
    assert rig.connections() == 0 and LaddrStats(rig.w.laddr_stats).used == 0 and rig.clean()


def test_one_packet_out_through_snat_gives_its_port_back():
    rig = Rig()
    rig.snat(0, "udp", flags=["ops"])
    frame = Ether(src=server_mac(0), dst=MACS[LAN]) / IP(src=server(0), dst=CLIENT)
    ports = []
    for _ in range(3):
        (sent,), _ = rig.exchange(LAN, frame / UDP(sport=5000, dport=53))
        assert tuple_of(sent)[:2] == (OUTSIDE, CLIENT)
        ports.append(tuple_of(sent).sport)
    assert len(set(ports)) == 3 and rig.connections() == 0
    assert LaddrStats(rig.w.laddr_stats + 8 * LADDR_STATS_SIZE).used == 0
    assert Table(rig.w.table).count == 0 and rig.clean()
