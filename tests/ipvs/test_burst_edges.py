"""Corners of a burst: failures, our own addresses, ports without queue, what comes after what."""

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.dest import DestStats
from ipvs.entry import Entry
from ipvs.laddr import LaddrStats
from ipvs.table import Table, entry_of
from netdev.port import TX_ROOM, Port
from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    FAR,
    LADDR,
    LAN,
    LAN_ADDR,
    TCP,
    UDP,
    VIP,
    WAN,
    WAN_ADDR,
    Rig,
    from_client,
    from_server,
    server,
    syn,
)


@pytest.fixture
def rig():
    rig = Rig(static=True)
    yield rig
    assert rig.clean()


def stats(rig, dest=0):
    return DestStats(rig.w.dest_stats + dest * 64)


def test_every_failure_leaves_nothing_behind(rig):
    """Each way a connection can fail to come about: no entry, port, count or timer is kept."""
    rig.service(0, "fullnat", "udp", port=80, dests=[{"weight": 0}])
    rig.service(1, "fullnat", "udp", port=81, dests=[{"id": 1}], laddrs=())
    rig.service(2, "fullnat", "udp", port=82, dests=[{"id": 2}], laddrs=(7,))
    rig.service(3, "nat", "udp", port=83, dests=[{"id": 3, "port": 9000}])
    rig.service(4, "nat", "udp", port=84, dests=[{"id": 4, "port": 9000}])
    rig.exchange(WAN, from_client(UDP(sport=5, dport=83)))
    free = LaddrStats(rig.w.laddr_stats).free
    for port, reason in ((80, "no_dest"), (81, "no_laddr"), (82, "no_port"), (84, "conn_clash")):
        for _ in range(3):
            assert rig.exchange(WAN, from_client(UDP(sport=5, dport=port))) == [[], []]
        assert rig.drops()[reason] == 3
        assert rig.connections() == 1 and rig.clean()
    assert LaddrStats(rig.w.laddr_stats).free == free
    assert [stats(rig, d).conns for d in range(5)] == [0, 0, 0, 1, 0]
    assert Table(rig.w.table).high <= 2


def test_a_connection_without_a_way_to_its_server_is_kept_until_it_times_out(rig):
    rig.service(0, "nat", "udp", dests=[{"addr": "100.64.0.1"}])
    rig.apply("route.del", dst="0.0.0.0", plen=0, dev=WAN)
    rig.apply("param.set", udp_timeouts={"oneway": 5})
    rig.exchange(WAN, from_client(UDP(sport=5, dport=80)))
    assert rig.drops() == {"dest_route": 1} and rig.connections() == 1
    rig.route("100.64.0.0/24", kind="gateway", dev=LAN, via=server(0))
    assert len(rig.exchange(WAN, from_client(UDP(sport=5, dport=80)))[LAN]) == 1
    rig.now += 6000
    rig.run(2)
    assert rig.connections() == 0


def test_a_server_that_is_one_of_our_addresses(rig):
    rig.service(0, "nat", "udp", dests=[{"addr": WAN_ADDR}])
    rig.exchange(WAN, from_client(UDP(sport=5, dport=80)))
    assert rig.drops() == {"ip_loop": 1}


@pytest.mark.parametrize("source", [VIP, WAN_ADDR, LAN_ADDR, LADDR])
@pytest.mark.parametrize("mode", ["fullnat", "nat", "dr"])
def test_our_own_address_as_client_opens_nothing(rig, mode, source):
    rig.service(0, mode, "udp")
    rig.service(1, mode, "tcp", dests=[{"id": 1}])
    rig.exchange(WAN, from_client(UDP(sport=5, dport=80), src=source))
    rig.exchange(WAN, syn(src=source))
    assert rig.drops() == {"ip_loop": 2} and rig.connections() == 0


def test_a_full_burst_of_everything(rig):
    rig.service(0, "nat", "udp")
    frames = []
    for i in range(64):
        frames.append(
            (
                from_client(UDP(sport=100 + i // 2, dport=80)),
                from_client(UDP(sport=5, dport=5), dst=FAR),
                syn(),
                from_client(UDP(sport=100 + i // 2, dport=80), frag=1),
            )[i % 4]
        )
    out = rig.exchange(WAN, *frames)
    assert len(out[LAN]) == 16
    assert rig.drops() == {"ip_not_forwarded": 16, "no_service": 16, "frag_duplicate": 15}


def test_connections_keep_the_ids_they_were_made_with(rig):
    """The largest ids fit their fields."""
    rig.service(4095, "nat", "tcp", dests=[{"id": 16383}])
    rig.exchange(WAN, syn())
    entry = Entry(entry_of(rig.w.table, 1))
    assert (entry.service, entry.dest) == (4095, 16383)
    assert stats(rig, 16383).inactive == 1
    wide = Rig(static=True)
    wide.laddr(1023)
    wide.service(0, "fullnat", "udp", laddrs=(1023,))
    wide.exchange(WAN, from_client(UDP(sport=1, dport=80)))
    assert Entry(entry_of(wide.w.table, 1)).laddr == 1024
    wide.now += 301_000
    wide.run(2)
    assert wide.connections() == 0 and wide.clean()


@pytest.mark.parametrize("refused", [1, 5, 1000])
def test_what_the_driver_refuses_is_counted_and_freed(rig, refused):
    rig.service(0, "nat", "udp")
    rig.ports[LAN].refuse = refused
    frame = Ether(bytes(from_client(UDP(sport=1, dport=80) / Raw(bytes(50)))))
    out = rig.exchange(WAN, *[frame] * 20)
    sent = max(0, 20 - refused)
    assert len(out[LAN]) == sent
    lan = Port(rig.stack.ports[LAN])
    assert (lan.tx_packets, lan.tx_dropped) == (sent, 20 - sent)
    assert lan.tx_bytes == sent * len(frame)
    assert rig.complete()


def test_a_port_without_tx_queue_frees_what_is_given_to_it(rig):
    lan = Port(rig.stack.ports[LAN])
    rig.apply("neigh.del", addr=server(0), dev=LAN)
    rig.service(0, "nat", "udp")
    rig.exchange(WAN, *[from_client(UDP(sport=1, dport=80))] * 3)
    lan.tx_queue = -1
    rig.apply("neigh.set", addr=server(0), dev=LAN, mac="02:bb:00:00:00:0b", static=True)
    assert rig.run() == [[], []]
    assert (lan.tx_dropped, lan.tx_bytes) == (3, 60) and rig.in_flight() == 0
    rig.exchange(WAN, from_client(UDP(sport=1, dport=80)))
    rig.exchange(WAN, from_client(UDP(sport=2, dport=80)))
    assert rig.drops()["port_down"] == 1  # the new one; the known one's way is settled


def test_more_packets_than_one_transmit_burst_takes(rig):
    rig.service(0, "nat", "udp")
    rig.push(WAN, *[from_client(UDP(sport=1, dport=80))] * 32)
    rig.push(LAN, *[from_server(UDP(sport=8000, dport=1), dst=CLIENT)] * 32)
    rig.apply("param.set", forwarding=1)
    out = rig.run(3)
    assert [len(frames) for frames in out] == [32, 32]
    again = Port(rig.stack.ports[LAN])
    for _ in range(TX_ROOM + 5):
        rig.push(WAN, from_client(UDP(sport=1, dport=80)))
    assert len(rig.run(4)[LAN]) == TX_ROOM + 5 and again.tx_count == 0


def test_the_rest_of_a_burst_does_not_find_the_connection_that_its_first_packet_ended():
    """All packets of a burst are looked up before the first of them is handled."""
    rig = Rig(static=True)
    rig.service(0, "fullnat", flags=["expire_quiescent"], dests=2)
    rig.exchange(WAN, syn())
    rig.service(0, "fullnat", flags=["expire_quiescent"], dests=[{"id": 1, "addr": server(1)}])
    ack = from_client(TCP(sport=1234, dport=80, flags="A"))
    out = rig.exchange(WAN, ack, ack, syn(), ack, ack)
    assert rig.drops() == {"dest_gone": 1, "not_syn": 1}
    assert [Ether(f).dst[-2:] for f in out[LAN]] == ["0c"] * 3
    assert rig.connections() == 1 and Table(rig.w.table).high == 1
    assert rig.clean()


def test_no_generation_of_routes_is_that_of_a_hop_never_looked_up():
    rig = Rig(static=True)
    rig.service(0, "nat")
    rig.exchange(WAN, syn())
    entry = Entry(entry_of(rig.w.table, 1))
    assert entry.forward[1].generation == 0
    rig.stack.generation = 0xFFFF
    rig.route("10.0.0.0/8", kind="link", dev=WAN)
    assert rig.stack.generation == 1
    reply = from_server(TCP(sport=8000, dport=1234, flags="SA"), dst=CLIENT)
    assert Ether(rig.exchange(LAN, reply)[WAN][0]).dst == CLIENT_MAC


def test_a_worker_without_rings_drops_what_is_not_its_own():
    rig = Rig(index=0, workers=2, static=True)
    rig.service(0, "fullnat")
    rig.exchange(LAN, from_server(TCP(sport=8000, dport=2001, flags="A")))
    assert rig.drops() == {"handover_full": 1} and rig.clean()


def test_forwarding_where_the_checksum_becomes_zero():
    """One step of TTL from 0xfeff is zero; RFC 1141's shortcut leaves 0xffff."""
    rig = Rig(static=True)
    rig.apply("param.set", forwarding=1)
    frame = from_client(UDP(), dst=server(0), id=0)
    base = int.from_bytes(bytes(frame)[24:26], "big")
    frame[IP].id = (base - 0xFEFF) % 0xFFFF
    assert bytes(frame)[24:26] == b"\xfe\xff"
    assert rig.exchange(WAN, frame)[LAN][0][24:26] == b"\x00\x00"
