"""Forwarding of packets that are for others (RFC 1812 5.2, 5.3): off by default, TTL, checksum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests import crafted as net
from tests.rig import MACS


@pytest.fixture
def rig():
    made = net.network()
    made.apply("param.set", forwarding=1)
    net.know_all(made)
    return made


def test_off_by_default():
    rig = net.network()
    net.know_all(rig)
    frames = [net.to_lan(), net.ping(dst=net.SERVER), net.syn(dst="8.8.8.8"), net.to_lan(ttl=1)]
    assert net.send(rig, net.WAN, *frames) == [[], []]
    assert rig.drops() == {"ip_not_forwarded": 4}


def test_can_be_switched_off_again(rig):
    assert len(net.send(rig, net.WAN, net.to_lan())[1]) == 1
    rig.apply("param.set", forwarding=0)
    assert net.send(rig, net.WAN, net.to_lan()) == [[], []]


@pytest.mark.parametrize("ttl", [2, 3, 64, 65, 128, 255])
def test_ttl_goes_down_by_one_and_nothing_else_changes(rig, ttl):
    sent = net.to_lan(ttl=ttl, tos=0x48, id=0xFFFF, flags="DF", size=33)
    (frame,) = net.send(rig, net.WAN, sent)[1]
    out = net.checked(frame)
    assert (out.dst, out.src, out[IP].ttl) == (net.SERVER_MAC, MACS[1], ttl - 1)
    before, after = bytes(sent)[14:], frame[14:]
    assert before[:8] + before[9:10] + before[12:] == after[:8] + after[9:10] + after[12:]


RIG = None


@given(st.integers(0, 0xFFFF), st.integers(2, 255), st.integers(0, 255))
def test_the_header_checksum_stays_right(number, ttl, tos):
    global RIG
    if RIG is None:
        RIG = net.network()
        RIG.apply("param.set", forwarding=1)
        RIG.apply("neigh.set", addr=net.SERVER, dev=net.LAN, mac=net.SERVER_MAC, static=True)
    (frame,) = net.send(RIG, net.WAN, net.to_lan(id=number, ttl=ttl, tos=tos))[1]
    words = [int.from_bytes(frame[i : i + 2], "big") for i in range(14, 34, 2)]
    total = sum(words)
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    assert Ether(frame)[IP].ttl == ttl - 1


def test_a_corrupt_payload_is_passed_on_as_it_came(rig):
    sent = bytearray(bytes(net.to_lan()))
    sent[40:42] = b"\xba\xad"
    (frame,) = net.send(rig, net.WAN, bytes(sent))[1]
    assert frame[40:42] == b"\xba\xad"


def test_by_the_gateway(rig):
    frame = Ether(src=net.SERVER_MAC, dst=MACS[1]) / IP(src=net.SERVER, dst=net.REMOTE) / UDP()
    (out,) = net.send(rig, net.LAN, frame)[0]
    assert (Ether(out).dst, Ether(out).src) == (net.GATEWAY_MAC, MACS[0])


def test_the_longest_prefix_wins(rig):
    rig.apply("route.set", dst="203.0.113.8", plen=29, kind="gateway", via=net.OTHER, dev=net.LAN)
    rig.apply("route.set", dst="0.0.0.0", plen=0, kind="gateway", via=net.GATEWAY, dev=net.WAN)
    out = net.send(rig, net.WAN, net.to_lan(dst=net.REMOTE), net.to_lan(dst="203.0.113.16"))
    assert [Ether(f).dst for f in out[1]] == [net.OTHER_MAC]
    assert [Ether(f).dst for f in out[0]] == [net.GATEWAY_MAC]
    rig.apply("route.del", dst="203.0.113.8", plen=29, dev=net.LAN)
    assert len(net.send(rig, net.WAN, net.to_lan(dst=net.REMOTE))[0]) == 1


def test_back_out_of_the_port_it_came_from(rig):
    (out,) = net.send(rig, net.WAN, net.to_lan(dst="203.0.113.1"))[0]
    assert Ether(out).dst == net.GATEWAY_MAC


def test_multicast_is_not_forwarded(rig):
    assert net.send(rig, net.WAN, net.to_lan(dst="239.1.2.3")) == [[], []]
    assert set(rig.drops()) == {"ip_destination"}


def test_a_port_that_is_down(rig):
    rig.apply("dev.set", id=net.LAN, mac=MACS[1], mtu=1500, up=False)
    assert net.send(rig, net.WAN, net.to_lan()) == [[], []]
    assert rig.drops() == {"port_down": 1} and rig.in_flight() == 0


def test_what_the_driver_refuses_is_freed_and_counted(rig):
    rig.ports[1].refuse = 3
    out = net.send(rig, net.WAN, *[net.to_lan(id=i) for i in range(10)])
    assert len(out[1]) == 7 and rig.port_memory[1].tx_dropped == 3
    assert rig.port_memory[1].tx_packets == 7 and rig.in_flight() == 0


def test_a_large_burst_keeps_its_order(rig):
    out = net.send(rig, net.WAN, *[net.to_lan(id=i) for i in range(200)])
    assert [Ether(f)[IP].id for f in out[1]] == list(range(200))


def test_a_packet_that_is_too_big_keeps_its_ttl_in_the_quotation(rig):
    """The error shows the packet as it came (RFC 1812 4.3.2.3)."""
    rig.apply("dev.set", id=net.LAN, mac=MACS[1], mtu=500)
    sent = net.to_lan(size=600, ttl=9, flags="DF")
    (frame,) = net.send(rig, net.WAN, sent)[0]
    assert frame[42:] == bytes(sent)[14 : 14 + 548]


def test_a_packet_that_waited_has_its_ttl_lowered_once(rig):
    rig.apply("neigh.del", addr=net.SERVER, dev=net.LAN)
    net.send(rig, net.WAN, net.to_lan(ttl=7))
    (frame,) = net.send(rig, net.LAN, net.answer(net.SERVER, net.SERVER_MAC))[1]
    assert net.checked(frame)[IP].ttl == 6
