"""IPv6 and NAT64 connections over several workers, and over the death of one."""

from __future__ import annotations

import ctypes
import ipaddress

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import Ether

from ipvs import rss
from ipvs.handover6 import client_owner6
from stack.address6 import words
from tests import oracle
from tests.audit import audit
from tests.rig import Rig, crew
from tests.topology import SERVER_MACS, dest
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    LOCAL6,
    SERVERS6,
    TO_CLIENT,
    VIP6,
    dest6,
    frame6,
    from_server,
    network6,
    rewritten6,
    service6,
)


def configure(rig, mode="fullnat"):
    """Real servers of both families in turn (NAT: of IPv6)."""
    network6(rig, ipv4=True)
    other = dest6(1, mode=mode) if mode == "nat" else dest(1)
    service6(rig, [dest6(0, mode=mode), other], laddrs=[0, 1])
    return rig


def workers(count=2, mode="fullnat"):
    return crew(lambda **options: configure(Rig(**options), mode), count)


def syn(number):
    layer = oracle.segment("tcp", 1000 + number, 80, "S")
    return frame6(FROM_CLIENT, (CLIENT6, VIP6), layer)


def answer(out):
    """What the server says to a frame it got, in its own family."""
    packet = Ether(out)
    layer = TCP(sport=packet[TCP].dport, dport=packet[TCP].sport, flags="SA")
    ip = packet.getlayer(IPv6) or packet.getlayer(IP)
    reply = Ether(src=packet.dst, dst=packet.src) / type(ip)(src=ip.dst, dst=ip.src) / layer
    return bytes(reply)


def is_reply(raw, number):
    ip = Ether(raw)[IPv6]
    assert (ip.src, ip.dst, ip[TCP].sport, ip[TCP].dport) == (VIP6, CLIENT6, 80, 1000 + number)
    stored = ip[TCP].chksum
    del ip[TCP].chksum
    assert IPv6(bytes(ip))[TCP].chksum == stored
    return True


@pytest.mark.parametrize("count", [2, 3])
def test_replies_at_the_wrong_worker_reach_their_owner(count):
    """Both families of real servers; without RSS knowledge the port names the owner."""
    rigs = workers(count)
    for owner in rigs:
        for number in range(2):
            _, (out,) = owner.exchange(0, syn(10 * owner.worker.index + number))
            for other in rigs:
                wan, _ = other.exchange(1, answer(out))
                if other is not owner:
                    assert wan == []
                    wan, _ = owner.run()
                assert is_reply(wan[0], 10 * owner.worker.index + number)
    assert rigs[0].in_flight() == 0 and [rig.drops() for rig in rigs] == [{}] * count


def test_nat_belongs_to_the_clients_owner():
    rigs = workers(mode="nat")
    high, low = words(CLIENT6)
    for number in range(16):
        owner = rigs[client_owner6(high, low, 1000 + number, 2)]
        for arrives in rigs:
            _, outs = arrives.exchange(0, syn(number))
            if arrives is not owner:
                _, outs = owner.run()
            wan, _ = arrives.exchange(1, answer(outs[0]))
            if arrives is not owner:
                assert wan == []
                wan, _ = owner.run()
            assert is_reply(wan[0], number)
    counts = [rig.applier.connections() for rig in rigs]
    assert sum(counts) == 16 and min(counts) > 0


@pytest.mark.parametrize("worker", [0, 2])
def test_with_known_rss_replies_return_to_the_workers_own_queue(worker):
    rig = Rig(index=worker, workers=3)
    rss.fill_tables(rig.w.rss, rss.DEFAULT_KEY)
    rss.set_indirection(rig.w.rss, 1, [i % 3 for i in range(128)])
    configure(rig)
    _, lan = rig.exchange(0, *[syn(number) for number in range(20)])
    assert len(lan) == 20
    for raw in lan:
        ip = Ether(answer(raw)).payload
        kind = ipaddress.ip_address
        data = kind(ip.src).packed + kind(ip.dst).packed + bytes(ip[TCP])[:4]
        assert rss.toeplitz(rss.DEFAULT_KEY, data) % 128 % 3 == worker


def with_options(frame):
    """The frame with a destination options header in front of its segment."""
    ip = Ether(frame)[IPv6]
    layer = ip.payload
    ip.remove_payload()
    del ip.plen, ip.nh
    head = bytes(Ether(frame))[:14]
    return head + bytes(ip / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / layer)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("mode", ["fullnat", "nat"])
def test_rfc8200_4_packets_with_extension_headers_find_their_connection(count, mode):
    """NICs hash them by their addresses alone: they arrive anywhere."""
    rigs = workers(count, mode)
    high, low = words(CLIENT6)
    for number in range(2 * count):
        _, outs = rigs[0].exchange(0, syn(number))
        owner = rigs[client_owner6(high, low, 1000 + number, count) if mode == "nat" else 0]
        outs += owner.run()[1]
        layer = oracle.segment("tcp", 1000 + number, 80, "A", b"data")
        data = with_options(frame6(FROM_CLIENT, (CLIENT6, VIP6), layer))
        for arrives in rigs:
            _, lan = arrives.exchange(0, data)
            for rig in rigs * 2:
                lan += rig.run()[1]
            (out,) = lan
            assert out[:12] == outs[0][:12] and out.endswith(b"data")
    assert [rig.drops() for rig in rigs] == [{}] * count and rigs[0].in_flight() == 0
    assert sum(rig.applier.connections() for rig in rigs) == 2 * count


def test_a_connection_begins_where_its_other_packets_arrive():
    """The first packet has extension headers, the others have none: RSS places those."""
    rigs = workers(3)
    for rig in rigs:
        rss.fill_tables(rig.w.rss, rss.DEFAULT_KEY)
        rss.set_indirection(rig.w.rss, 0, [i % 3 for i in range(128)])
    for number in range(9):
        _, lan = rigs[0].exchange(0, with_options(syn(number)))
        for rig in rigs[1:]:
            lan += rig.run()[1]
        assert len(lan) == 1
        packed = ipaddress.ip_address(CLIENT6).packed + ipaddress.ip_address(VIP6).packed
        data = packed + (1000 + number).to_bytes(2, "big") + (80).to_bytes(2, "big")
        owner = rigs[rss.toeplitz(rss.DEFAULT_KEY, data) % 128 % 3]
        layer = oracle.segment("tcp", 1000 + number, 80, "A", b"data")
        _, lan = owner.exchange(0, frame6(FROM_CLIENT, (CLIENT6, VIP6), layer))
        assert len(lan) == 1 and lan[0].endswith(b"data")
    assert [rig.drops() for rig in rigs] == [{}] * 3


def test_connections_outlive_their_worker():
    """After kill -9: found again from both sides, ports not given out twice, slots whole."""
    old = configure(Rig(capacity=64, replicas=4))
    _, outs = old.exchange(0, *[syn(number) for number in range(20)])
    new = Rig(
        capacity=64, replicas=4, memory=old.shared, table_memory=old.table_memory,
        now=old.stack.now,
    )  # fmt: skip
    configure(new)
    assert new.worker.recovered == 20 and audit(new.address) == []
    for number, out in enumerate(outs):
        wan, _ = new.exchange(1, answer(out))
        assert is_reply(wan[0], number)
        _, again = new.exchange(0, syn(number))
        assert Ether(again[0])[TCP].sport == Ether(out)[TCP].sport
    _, more = new.exchange(0, *[syn(number) for number in range(100, 110)])
    ends = [(Ether(raw).dst, Ether(raw)[TCP].sport) for raw in outs + more]
    assert len(set(ends)) == 30
    assert ctypes.sizeof(new.table_memory) and new.drops() == {}
    assert {mac for mac, _ in ends} == set(SERVER_MACS[:2])
    assert audit(new.address) == []


def test_a_reply_of_another_server_is_not_this_connections():
    rig = network6(Rig())
    service6(rig, [dest6(0)])
    _, (out,) = rig.exchange(0, syn(0))
    layer = oracle.segment("tcp", 8080, Ether(out)[TCP].sport, "SA")
    stranger = frame6(from_server(1), (SERVERS6[1], LOCAL6), layer)
    assert rig.exchange(1, stranger) == [[], []]
    assert rig.drops() == {"no_service": 1}
    right = answer(out)
    wan, _ = rig.exchange(1, right)
    assert wan == [rewritten6(right, TO_CLIENT, (VIP6, 80), (CLIENT6, 1000))]
