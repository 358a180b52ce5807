"""ICMP: echo replies, error messages, and who gets none (RFC 792, 1122 3.2.2, 1812 4.3)."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, IPOption_RR
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests import crafted as net
from tests.rig import MACS

RECORD_ROUTE = IPOption_RR(routers=["0.0.0.0", "0.0.0.0"])


@pytest.fixture
def rig():
    made = net.network()
    made.apply("param.set", forwarding=1)
    net.know_all(made)
    return made


def lan_mtu(rig, mtu):
    rig.apply("dev.set", id=net.LAN, mac=MACS[1], mtu=mtu)


def one(rig, *frames):
    """The single frame sent back to the wan for ``frames``."""
    out = net.send(rig, net.WAN, *frames)
    assert out[1] == [] and len(out[0]) == 1
    return net.checked(out[0][0])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 55, 56, 57, 999, 1472])
@pytest.mark.parametrize("target", [net.WAN_IP, net.VIP, net.LAN_IP])
def test_echo(rig, size, target):
    reply = one(rig, net.ping(size, dst=target))
    assert (reply.dst, reply.src) == (net.CLIENT_MAC, MACS[0])
    assert (reply[IP].src, reply[IP].dst, reply[IP].ttl) == (target, net.CLIENT, 64)
    assert (reply[ICMP].type, reply[ICMP].code, reply[ICMP].id, reply[ICMP].seq) == (0, 0, 7, 9)
    assert bytes(reply[ICMP].payload)[:size] == net.body(size)
    assert reply[IP].len == 28 + size
    assert rig.drops() == {} and rig.in_flight() == 0


@pytest.mark.parametrize("payload", [b"\xff\xff", b"\x00\x00", b"\xf7\xff", b"\x08\x00"])
def test_echo_checksum_at_the_edges_of_its_arithmetic(rig, payload):
    for number in (0, 0xFFFF, 0xF7FF, 0xF7FE):
        packet = net.ether() / IP(src=net.CLIENT, dst=net.WAN_IP) / ICMP(id=number, seq=0)
        reply = one(rig, packet / Raw(payload))
        assert reply[ICMP].id == number


def test_echo_with_ip_options(rig):
    reply = one(rig, net.ping(31, options=[RECORD_ROUTE]))
    assert reply[IP].ihl > 5 and reply[ICMP].type == 0
    assert bytes(reply[Raw].load)[:31] == net.body(31)


def test_echo_in_a_padded_frame_is_answered_without_the_padding(rig):
    out = net.send(rig, net.WAN, bytes(net.ping(4)) + b"\xaa" * 20)
    assert len(out[0][0]) == 14 + 28 + 4


def test_echo_from_a_host_behind_the_gateway(rig):
    assert one(rig, net.ping(src=net.REMOTE)).dst == net.GATEWAY_MAC


def test_echo_from_an_unknown_neighbour_waits_for_its_mac(rig):
    out = net.send(rig, net.WAN, net.ping(src="198.18.0.77"))
    assert Ether(out[0][0]).type == 0x0806 and rig.in_flight() == 1
    answer = net.arp(2, "198.18.0.77", "02:aa:00:00:00:77", net.WAN_IP)
    (reply,) = net.send(rig, net.WAN, answer)[0]
    assert net.checked(reply)[ICMP].type == 0


def test_echo_whose_way_back_is_unknown(rig):
    assert net.send(rig, net.WAN, net.ping(src="8.8.8.8")) == [[], []]
    assert rig.drops() == {"ip_no_route": 1}


def test_broken_echo_is_not_answered(rig):
    good = bytes(net.ping(8))
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    short = bytes(
        net.ether() / IP(src=net.CLIENT, dst=net.WAN_IP, proto=1) / Raw(b"\x08\0\xf7\xff")
    )
    coded = bytes(net.ether() / IP(src=net.CLIENT, dst=net.WAN_IP) / ICMP(type=8, code=1))
    stamp = bytes(net.ping(12, kind=13))
    assert net.send(rig, net.WAN, flipped, short, coded, stamp) == [[], []]
    assert rig.drops() == {"icmp_checksum": 1, "icmp_short": 1, "icmp_type": 2}


def test_ttl_expired_while_forwarding(rig):
    sent = net.to_lan(ttl=1, size=30)
    error = one(rig, sent)
    assert (error.dst, error.src) == (net.CLIENT_MAC, MACS[0])
    assert (error[IP].src, error[IP].dst, error[IP].tos) == (net.WAN_IP, net.CLIENT, 0xC0)
    assert (error[ICMP].type, error[ICMP].code) == (11, 0)
    assert error.original[42:] == bytes(sent)[14:]
    assert rig.drops() == {"ip_ttl": 1} and rig.in_flight() == 0


def test_error_quotes_no_more_than_fits_576_bytes(rig):
    sent = net.to_lan(ttl=1, size=1400)
    error = one(rig, sent)
    assert error[IP].len == 576
    assert error.original[42:] == bytes(sent)[14 : 14 + 548]


def test_ttl_zero_is_expired_too(rig):
    assert one(rig, net.to_lan(ttl=0))[ICMP].type == 11


def test_too_big_tells_the_mtu(rig):
    lan_mtu(rig, 1400)
    sent = net.to_lan(size=1400, flags="DF")
    error = one(rig, sent)
    assert (error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == (3, 4, 1400)
    assert error[IP].src == net.WAN_IP
    assert rig.drops() == {"ip_too_big": 1}
    assert len(net.send(rig, net.WAN, net.to_lan(size=1372, flags="DF"))[1]) == 1


def test_the_mtu_of_a_route_counts_when_it_is_smaller(rig):
    rig.apply("route.set", dst="198.19.0.0", plen=24, kind="link", dev=net.LAN, mtu=600)
    assert one(rig, net.to_lan(size=601, flags="DF"))[ICMP].nexthopmtu == 600
    rig.apply("route.set", dst="198.19.0.0", plen=24, kind="link", dev=net.LAN, mtu=9000)
    assert len(net.send(rig, net.WAN, net.to_lan(size=1400))[1]) == 1


def test_too_big_for_a_connection_comes_from_the_service(rig):
    net.service(rig)
    net.send(rig, net.WAN, net.syn())
    lan_mtu(rig, 1000)
    rig.apply("neigh.del", addr=net.SERVER, dev=net.LAN)
    rig.stack.generation += 1
    sent = net.syn(flags="A", ttl=9) / Raw(bytes(1000))
    sent[IP].flags = "DF"
    error = one(rig, sent)
    assert (error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == (3, 4, 1000)
    assert (error[IP].src, error[IP].dst) == (net.VIP, net.CLIENT)
    assert error.original[42:] == bytes(sent)[14 : 14 + 548]


def test_no_route_is_told(rig):
    error = one(rig, net.to_lan(dst="8.8.8.8"))
    assert (error[ICMP].type, error[ICMP].code) == (3, 0)
    assert rig.drops() == {"ip_no_route": 1}


def test_error_to_a_host_behind_the_gateway_has_our_address(rig):
    error = one(rig, net.to_lan(src=net.REMOTE, ttl=1))
    assert (error[IP].src, error.dst) == (net.WAN_IP, net.CLIENT_MAC)


def test_errors_are_limited_in_rate(rig):
    sent = 0
    for _ in range(20):
        sent += len(net.send(rig, net.WAN, *[net.to_lan(ttl=1)] * 20)[0])
    assert sent == 100 and rig.drops()["icmp_rate"] == 300
    out = net.send(rig, net.WAN, *[net.to_lan(ttl=1)] * 20, after=5)
    assert len(out[0]) == 5
    out = net.send(rig, net.WAN, *[net.to_lan(ttl=1)] * 150, after=10_000)
    assert len(out[0]) == 100
    assert rig.in_flight() == 0


def unanswerable():
    """RFC 1122 3.2.2 and RFC 1812 4.3.2.7: what no error may be sent about."""
    yield "an error", net.ether() / IP(src=net.CLIENT, dst=net.SERVER, ttl=1) / ICMP(type=3)
    yield "time exceeded", net.ether() / IP(src=net.CLIENT, dst=net.SERVER, ttl=1) / ICMP(type=11)
    yield "redirect", net.ether() / IP(src=net.CLIENT, dst=net.SERVER, ttl=1) / ICMP(type=5)
    yield "a later fragment", net.ping(64, dst=net.SERVER, ttl=1, frag=100, proto=1)
    yield "a group as destination", net.ping(8, dst="224.0.0.9", ttl=1)


@pytest.mark.parametrize(
    "frame", [f for _, f in unanswerable()], ids=[n for n, _ in unanswerable()]
)
def test_who_gets_no_error(rig, frame):
    assert net.send(rig, net.WAN, frame) == [[], []]
    assert sum(rig.drops().values()) == 1


@pytest.mark.parametrize("src", ["0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_no_error_to_a_source_that_is_no_host(rig, src):
    assert net.send(rig, net.WAN, net.to_lan(src=src, ttl=1)) == [[], []]
    assert rig.drops() == {"ip_source": 1}


@pytest.mark.parametrize("mac", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:cc:00:00:00:01"])
def test_no_error_about_a_frame_that_is_not_ours_alone(rig, mac):
    frame = net.to_lan(ttl=1)
    frame.dst = mac
    assert net.send(rig, net.WAN, frame) == [[], []]


@pytest.mark.parametrize("kind", [8, 0, 13, 14])
def test_icmp_queries_do_get_errors(rig, kind):
    assert one(rig, net.ping(12, dst=net.SERVER, ttl=1, kind=kind))[ICMP].type == 11


def test_no_error_without_an_address_to_send_it_from(rig):
    rig.apply("route.set", dst="198.18.0.0", plen=24, kind="link", dev=net.WAN)
    assert net.send(rig, net.WAN, net.to_lan(ttl=1)) == [[], []]
    assert rig.drops() == {"ip_ttl": 1}


def test_no_mbuf_for_an_error_is_counted(rig):
    rig.push(net.WAN, bytes(net.to_lan(ttl=1)))
    kept = [rig.pool.free.popleft() for _ in range(len(rig.pool.free) - 1)]
    assert rig.at(rig.clock) == [[], []]
    assert rig.drops() == {"no_mbuf": 1, "ip_ttl": 1}
    rig.pool.free.extend(kept)
    assert rig.in_flight() == 0


def test_tcp_to_a_closed_port_gets_no_answer(rig):
    frame = net.ether() / IP(src=net.CLIENT, dst=net.VIP) / TCP(dport=81, flags="S")
    assert net.send(rig, net.WAN, frame) == [[], []]
    assert rig.drops() == {"no_service": 1}
