"""Neighbours in the course of time: trust, doubt, probing, healing, what never changes."""

from __future__ import annotations

import pytest
from scapy.layers.l2 import ARP, Ether

from stack.neigh import DELAY_MS, NEIGHBOURS, PROBE_MS, SILENCE_MS
from tests import crafted as net

NEW_MAC = "02:bb:00:00:00:99"


@pytest.fixture
def rig():
    made = net.network()
    made.apply("param.set", forwarding=1, neigh_timeout=60)
    net.know(made, (net.SERVER, net.SERVER_MAC))
    return made


def requests(frames):
    return [Ether(f)[ARP] for f in frames if Ether(f).type == 0x0806]


def use(rig, seconds, every=500):
    """Send a packet to the server every ``every`` ms; requests and data frames it caused."""
    asked, sent = 0, []
    for _ in range(int(seconds * 1000 / every)):
        out = net.send(rig, net.WAN, net.to_lan(), after=every)
        asked += len(requests(out[1]))
        sent += [f for f in out[1] if Ether(f).type == 0x0800]
    return asked, sent


def test_an_unused_neighbour_is_trusted_for_its_time_then_forgotten(rig):
    net.wait(rig, 59_900)
    assert net.state(rig, net.SERVER) == "REACHABLE"
    net.wait(rig, 200)
    assert net.state(rig, net.SERVER) == "PROBE"
    net.wait(rig, PROBE_MS)
    assert net.state(rig, net.SERVER) == "NONE"


def test_nobody_is_asked_about_an_unused_neighbour(rig):
    assert net.wait(rig, 100_000, step=500) == [[], []]


def test_a_used_neighbour_that_is_silent_is_asked_within_seconds(rig):
    asked, sent = use(rig, SILENCE_MS / 1000 + 0.5)
    assert asked == 1 and net.state(rig, net.SERVER) == "DELAY"
    assert {Ether(f).dst for f in sent} == {net.SERVER_MAC}


def test_in_delay_packets_go_on(rig):
    _, sent = use(rig, 4)
    assert net.state(rig, net.SERVER) == "DELAY"
    assert len(sent) == 8


def test_an_answer_restores_trust(rig):
    use(rig, 3)
    net.send(rig, net.LAN, net.answer(net.SERVER, net.SERVER_MAC))
    assert net.state(rig, net.SERVER) == "REACHABLE"
    assert rig.in_flight() == 0


def test_a_neighbour_that_answers_never_loses_a_packet(rig):
    sent = 0
    for _ in range(200):
        out = net.send(rig, net.WAN, net.to_lan(), after=500)
        for _ in requests(out[1]):
            out2 = net.send(rig, net.LAN, net.answer(net.SERVER, net.SERVER_MAC), after=1)
            sent += len(out2[1])
        sent += len(out[1]) - len(requests(out[1]))
    assert sent == 200 and "neigh_failed" not in rig.drops()


def test_a_dead_neighbour_ends_in_none_and_is_searched_by_broadcast(rig):
    asked, _ = use(rig, (SILENCE_MS + DELAY_MS) / 1000 + 2)
    assert asked >= 3
    assert net.state(rig, net.SERVER) == "SEND"
    use(rig, 5)
    assert rig.drops()["neigh_failed"] > 0


def test_probing_ends_when_the_neighbour_is_used_again(rig):
    net.wait(rig, 60_100)
    assert net.state(rig, net.SERVER) == "PROBE"
    out = net.send(rig, net.WAN, net.to_lan(), after=50)
    later = net.wait(rig, 100)
    assert len(requests(out[1] + later[1])) == 1 and net.state(rig, net.SERVER) == "DELAY"
    net.send(rig, net.LAN, net.answer(net.SERVER, net.SERVER_MAC), after=100)
    assert net.state(rig, net.SERVER) == "REACHABLE"


def test_gratuitous_arp_moves_running_traffic_at_once(rig):
    net.know_all(rig)
    net.service(rig)
    net.send(rig, net.WAN, net.syn())
    net.send(rig, net.LAN, net.arp(1, net.SERVER, NEW_MAC, net.SERVER))
    out = net.send(rig, net.WAN, net.syn(flags="A"), net.to_lan())
    assert [Ether(f).dst for f in out[1]] == [NEW_MAC, NEW_MAC]


def test_a_silently_changed_mac_is_found_by_probing_within_seconds(rig):
    """The server's address moved without a gratuitous ARP: probing asks by broadcast."""
    begin = rig.clock
    while net.mac_of(rig, net.SERVER) != NEW_MAC:
        out = net.send(rig, net.WAN, net.to_lan(), after=100)
        for request in requests(out[1]):
            assert request.pdst == net.SERVER
            net.send(rig, net.LAN, net.answer(net.SERVER, NEW_MAC), after=1)
        assert rig.clock < begin + 5000
    assert Ether(net.send(rig, net.WAN, net.to_lan())[1][0]).dst == NEW_MAC


def test_a_server_that_talks_is_not_asked(rig):
    """Packets of a connection's server side are signs of life."""
    net.know_all(rig)
    net.service(rig)
    (out,) = net.send(rig, net.WAN, net.syn())[1]
    seen = net.parse(out)
    reply = (
        Ether(src=net.SERVER_MAC, dst="02:00:00:00:00:02")
        / net.IP(src=net.SERVER, dst=net.LOCAL_IP)
        / net.TCP(sport=80, dport=seen["TCP"].sport, flags="A")
    )
    asked = 0
    for _ in range(100):
        out = net.send(rig, net.WAN, net.syn(flags="A"), after=100)
        out2 = net.send(rig, net.LAN, reply, after=10)
        asked += len(requests(out[1])) + len(requests(out2[1]))
    assert asked == 0 and net.state(rig, net.SERVER) == "REACHABLE"


@pytest.mark.parametrize("op", [1, 2])
def test_static_neighbours_never_change_nor_age(rig, op):
    rig.apply("neigh.set", addr=net.SERVER, dev=net.LAN, mac=net.SERVER_MAC, static=True)
    net.send(rig, net.LAN, net.arp(op, net.SERVER, NEW_MAC, net.LAN_IP))
    net.send(rig, net.LAN, net.arp(op, net.SERVER, NEW_MAC, net.SERVER))
    rig.apply("neigh.set", addr=net.SERVER, dev=net.LAN, mac=NEW_MAC, static=False)
    use(rig, 30)
    net.wait(rig, 200_000, step=1000)
    assert net.state(rig, net.SERVER) == "REACHABLE"
    assert net.mac_of(rig, net.SERVER) == net.SERVER_MAC


def test_a_static_entry_replaces_what_was_learnt_and_can_be_changed_by_the_operator(rig):
    rig.apply("neigh.set", addr=net.SERVER, dev=net.LAN, mac=NEW_MAC, static=True)
    assert net.mac_of(rig, net.SERVER) == NEW_MAC
    rig.apply("neigh.set", addr=net.SERVER, dev=net.LAN, mac=net.OTHER_MAC, static=True)
    assert net.mac_of(rig, net.SERVER) == net.OTHER_MAC


def test_a_deleted_static_neighbour_is_learnt_again(rig):
    rig.apply("neigh.set", addr=net.SERVER, dev=net.LAN, mac=NEW_MAC, static=True)
    rig.apply("neigh.del", addr=net.SERVER, dev=net.LAN)
    assert len(requests(net.send(rig, net.WAN, net.to_lan())[1])) == 1
    out = net.send(rig, net.LAN, net.answer(net.SERVER, net.SERVER_MAC))
    assert Ether(out[1][0]).dst == net.SERVER_MAC


def test_a_static_entry_releases_what_waits(rig):
    net.send(rig, net.WAN, net.to_lan(dst=net.OTHER))
    rig.apply("neigh.set", addr=net.OTHER, dev=net.LAN, mac=net.OTHER_MAC, static=True)
    assert Ether(rig.at(rig.clock)[1][0]).dst == net.OTHER_MAC


def test_the_clock_may_wrap(rig):
    """Milliseconds wrap at 2**32, every 49 days."""
    rig = net.network(now=0xFFFFFFFF - 500)
    rig.apply("param.set", forwarding=1)
    net.know(rig, (net.SERVER, net.SERVER_MAC))
    asked, sent = use(rig, 2.5)
    assert (asked, len(sent)) == (1, 5) and net.state(rig, net.SERVER) == "DELAY"
    net.send(rig, net.LAN, net.answer(net.SERVER, net.SERVER_MAC))
    net.wait(rig, 59_000, step=500)
    assert net.state(rig, net.SERVER) == "REACHABLE"


def addresses(count):
    return [f"198.19.{1 + i // 250}.{1 + i % 250}" for i in range(count)]


def test_a_full_table_takes_the_place_of_neighbours_that_are_gone(rig):
    rig.apply("route.set", dst="198.19.0.0", plen=16, kind="link", dev=net.LAN, src=net.LAN_IP)
    for address in addresses(NEIGHBOURS - 1):
        rig.apply("neigh.set", addr=address, dev=net.LAN, mac=NEW_MAC, static=False)
    net.send(rig, net.LAN, net.ask("198.19.200.1", NEW_MAC, net.LAN_IP))
    assert rig.drops() == {"neigh_full": 1}
    net.send(rig, net.WAN, net.to_lan(dst="198.19.200.2"))
    assert rig.drops() == {"neigh_full": 2}
    gone = addresses(10)[3]
    rig.apply("neigh.del", addr=gone, dev=net.LAN)
    net.send(rig, net.LAN, net.ask("198.19.200.1", NEW_MAC, net.LAN_IP))
    assert net.state(rig, "198.19.200.1") == "REACHABLE"
    assert net.neighbour(rig, gone) is None
    assert net.state(rig, net.SERVER) == "REACHABLE"
    assert net.state(rig, addresses(NEIGHBOURS - 1)[-1]) == "REACHABLE"
