"""Neighbours: waiting packets, retries, ageing, probing, eviction."""

import pytest
from scapy.layers.l2 import ARP, Ether

from stack import neigh
from stack.neigh import DELAY, NONE, PROBE, REACHABLE, SEND, Neighbour
from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    LAN,
    LAN_ADDR,
    UDP,
    WAN,
    Rig,
    arp,
    from_client,
    from_server,
    server,
    server_mac,
)

NEW_MAC = "02:bb:00:00:00:99"


@pytest.fixture
def rig():
    """One NAT service over UDP; the client's MAC is fixed, the server's has to be found."""
    rig = Rig(neighbours=False)
    rig.service(mode="nat", proto="udp", port=53)
    rig.apply("neigh.set", addr=CLIENT, dev=WAN, mac=CLIENT_MAC, static=True)
    yield rig
    assert rig.clean()


def number(text):
    return int.from_bytes(bytes(int(part) for part in text.split(".")), "big")


def entry(rig):
    return Neighbour(neigh.find(rig.stack.neighbours, LAN, number(server(0))))


def query(sport=1000, size=0):
    return from_client(UDP(sport=sport, dport=53) / bytes(size))


def answer(sport=1000, mac=None):
    return from_server(UDP(sport=8000, dport=sport), dst=CLIENT, mac=mac)


def reply(mac=None, index=0):
    return arp(2, server(index), mac or server_mac(index), LAN_ADDR, LAN, None)


def split(frames):
    """(addresses asked for, other frames)"""
    parsed = [Ether(frame) for frame in frames]
    return [f[ARP].pdst for f in parsed if ARP in f], [f for f in parsed if ARP not in f]


def test_packets_wait_in_order_and_leave_in_order(rig):
    asked, sent = split(rig.exchange(WAN, *(query(1000 + i, i) for i in range(50)))[LAN])
    assert asked == [server(0)] and sent == []
    assert entry(rig).state == SEND and entry(rig).waiting == rig.in_flight() == 50
    _, sent = split(rig.exchange(LAN, reply())[LAN])
    assert [f[UDP].sport for f in sent] == [1000 + i for i in range(50)]
    assert {f.dst for f in sent} == {server_mac(0)}
    assert entry(rig).state == REACHABLE and rig.in_flight() == 0
    assert rig.drops() == {"arp_done": 1}


def test_queue_limit(rig):
    rig.apply("param.set", neigh_queue=5)
    rig.exchange(WAN, *(query(1000 + i) for i in range(9)))
    assert rig.drops() == {"neigh_queue": 4} and rig.waiting() == 5
    _, sent = split(rig.exchange(LAN, reply())[LAN])
    assert [f[UDP].sport for f in sent] == [1000, 1001, 1002, 1003, 1004]


def test_all_queues_together_leave_buffers_for_traffic(rig):
    rig.apply("param.set", neigh_queue=60000)
    table = neigh.NeighbourTable(rig.stack.neighbours)
    table.waiting = neigh.QUEUE_TOTAL - 2
    rig.exchange(WAN, *(query(1000 + i) for i in range(4)))
    assert rig.drops() == {"neigh_queue": 2}
    rig.exchange(LAN, reply())
    assert table.waiting == neigh.QUEUE_TOTAL - 2
    table.waiting = 0


def test_asks_once_a_second_and_gives_up_after_three(rig):
    times, failed = [], None
    began = rig.now
    rig.push(WAN, query())
    for _ in range(100):
        asked, _ = split(rig.run()[LAN])
        if asked:
            times.append(rig.now - began)
        if failed is None and rig.drops().get("neigh_failed"):
            failed = rig.now - began
        rig.now += 50
    assert times == [0, 1000, 2000] and failed == 3000
    assert entry(rig).state == NONE and rig.in_flight() == 0


def test_after_failure_the_next_packet_asks_again(rig):
    rig.exchange(WAN, query())
    rig.sleep(4000)
    assert rig.drops() == {"neigh_failed": 1}
    asked, _ = split(rig.exchange(WAN, query())[LAN])
    assert asked == [server(0)]
    _, sent = split(rig.exchange(LAN, reply())[LAN])
    assert len(sent) == 1


def test_a_busy_server_is_not_asked_while_it_talks(rig):
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    for _ in range(200):
        rig.now += 500
        out = rig.exchange(WAN, query())
        assert split(out[LAN])[0] == []
        rig.exchange(LAN, answer())
    assert entry(rig).state == REACHABLE


def test_silence_is_probed_and_the_answer_confirms(rig):
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    asked_at = []
    began = rig.now
    for _ in range(200):
        rig.now += 50
        asked, sent = split(rig.exchange(WAN, query())[LAN])
        assert len(sent) == 1  # traffic never stops meanwhile
        if asked:
            asked_at.append(rig.now - began)
            rig.exchange(LAN, reply())
    # Two seconds after the last sign of life, every time.
    assert asked_at == [2000, 4000, 6000, 8000, 10000]


def test_a_server_that_changed_its_mac_is_found_by_probing(rig):
    """No gratuitous ARP: the old MAC is dead, the new machine answers requests only."""
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    began, moved = rig.now, None
    while moved is None and rig.now - began < 10_000:
        rig.now += 50
        asked, sent = split(rig.exchange(WAN, query())[LAN])
        if asked:
            rig.exchange(LAN, reply(NEW_MAC))
        if sent and sent[0].dst == NEW_MAC:
            moved = rig.now - began
    assert moved is not None and moved <= 2200
    assert rig.connections() == 1


def test_packets_from_another_mac_are_no_sign_of_life(rig):
    """The new machine sends (its connections came along), but we still send to the old one."""
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    asked_after = None
    for step in range(100):
        rig.now += 50
        asked, _ = split(rig.exchange(WAN, query())[LAN])
        rig.exchange(LAN, answer(mac=NEW_MAC))
        if asked:
            asked_after = (step + 1) * 50
            break
    assert asked_after == 2000


def test_a_dead_server_is_asked_three_times_then_unresolved(rig):
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    asked_at, began, stopped = [], rig.now, None
    for _ in range(120):
        rig.now += 50
        asked, sent = split(rig.exchange(WAN, query())[LAN])
        if asked:
            asked_at.append(rig.now - began)
        if not sent and stopped is None:
            stopped = rig.now - began
    assert asked_at[:4] == [2000, 3000, 4000, 5050]  # three probes, then a first request again
    assert stopped == 5050
    rig.sleep(5000)


def test_an_unused_neighbour_is_forgotten_quietly(rig):
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    assert split(rig.sleep(58_000)[LAN]) == ([], [])
    assert entry(rig).state == REACHABLE
    rig.sleep(4000)
    assert entry(rig).state == PROBE
    rig.sleep(31_000)
    assert entry(rig).state == NONE


def test_a_neighbour_in_probe_is_used_and_asked(rig):
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    rig.sleep(62_000)
    assert entry(rig).state == PROBE
    asked, sent = split(rig.exchange(WAN, query())[LAN])
    assert asked == [server(0)] and len(sent) == 1 and entry(rig).state == DELAY
    rig.exchange(LAN, reply())
    assert entry(rig).state == REACHABLE


def test_traffic_confirms_a_neighbour_that_is_being_asked(rig):
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    rig.sleep(1900)
    rig.exchange(WAN, query())
    rig.sleep(200, 50)
    assert entry(rig).state == DELAY
    rig.exchange(LAN, answer())
    rig.after(50)
    assert entry(rig).state == REACHABLE


def test_reachable_time_is_a_setting(rig):
    rig.apply("param.set", neigh_timeout=10)
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    rig.sleep(9_800)
    assert entry(rig).state == REACHABLE
    rig.sleep(400)
    assert entry(rig).state == PROBE


def test_removal_by_the_operator_drops_what_waits(rig):
    rig.exchange(WAN, query(), query())
    rig.apply("neigh.del", addr=server(0), dev=LAN)
    assert rig.drops() == {"neigh_failed": 2} and rig.in_flight() == 0
    rig.apply("neigh.del", addr="198.19.0.99", dev=LAN)


def test_an_entry_learnt_elsewhere_sends_what_waits(rig):
    rig.exchange(WAN, query(), query())
    rig.apply("neigh.set", addr=server(0), dev=LAN, mac=server_mac(0), static=False)
    assert len(split(rig.run()[LAN])[1]) == 2


def test_the_clock_wraps(rig):
    rig.now = 2**32 - 3000
    rig.run()
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    for _ in range(100):
        rig.now += 100
        rig.exchange(LAN, answer())
        assert len(split(rig.exchange(WAN, query())[LAN])[1]) == 1
    assert rig.now > 2**32 and entry(rig).state == REACHABLE


def fill(rig, first=0):
    """Fill the table; returns how many entries there are."""
    table = neigh.NeighbourTable(rig.stack.neighbours)
    address = 0x0A000000 + first
    while table.count < neigh.NEIGHBOURS:
        assert neigh.find_or_add(rig.w.stack, LAN, address)
        address += 1
    return table.count


def test_a_full_table_gives_up_unresolved_entries_first(rig):
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    fill(rig)
    generation = rig.stack.generation
    for i in range(300):
        rig.stack.now += 1
        new = neigh.find_or_add(rig.w.stack, LAN, 0x0B000000 + i)
        assert new and neigh.find(rig.stack.neighbours, LAN, 0x0B000000 + i) == new
    assert rig.stack.generation != generation
    # The one in use survived, and its connection goes on.
    assert len(split(rig.exchange(WAN, query())[LAN])[1]) == 1
    count = sum(
        neigh.find(rig.stack.neighbours, LAN, 0x0A000000 + i) != 0 for i in range(neigh.NEIGHBOURS)
    )
    assert count == neigh.NEIGHBOURS - 300 - 2  # the client and the server hold two slots


def test_connections_of_a_given_up_neighbour_find_their_way_again(rig):
    rig.exchange(WAN, query())
    rig.exchange(LAN, reply())
    rig.exchange(LAN, answer())
    rig.sleep(100_000, 5000)
    assert entry(rig).state == NONE
    fill(rig)
    for i in range(neigh.NEIGHBOURS):
        neigh.find_or_add(rig.w.stack, LAN, 0x0B000000 + i)
    assert neigh.find(rig.stack.neighbours, LAN, number(server(0))) == 0
    asked, _ = split(rig.exchange(WAN, query())[LAN])
    assert asked == [server(0)] and rig.connections() == 1
    assert len(split(rig.exchange(LAN, reply())[LAN])[1]) == 1


def test_strangers_on_the_link_cannot_lock_the_table(rig):
    """A flood of false ARP requests fills it with entries that nobody sends to."""
    table = neigh.NeighbourTable(rig.stack.neighbours)
    for i in range(neigh.NEIGHBOURS - table.count):
        made = neigh.find_or_add(rig.w.stack, LAN, 0x0A000000 + i)
        neigh.learn(rig.w.stack, made, 0x0000000000BB02)
    rig.exchange(WAN, query())
    assert rig.drops() == {"neigh_full": 1}  # all were heard from just now
    rig.now += neigh.SILENCE_MS + 1
    assert split(rig.exchange(WAN, query())[LAN])[0] == [server(0)]
    rig.exchange(LAN, reply())


def test_static_and_waited_for_entries_are_never_given_up(rig):
    rig.apply("param.set", neigh_queue=2)
    table = neigh.NeighbourTable(rig.stack.neighbours)
    for i in range(neigh.NEIGHBOURS - table.count - 1):
        made = Neighbour(neigh.find_or_add(rig.w.stack, LAN, 0x0A000000 + i))
        made.permanent = 1
        made.state = REACHABLE
    rig.exchange(WAN, query())
    assert entry(rig).waiting == 1 and table.count == neigh.NEIGHBOURS
    rig.now += 2500
    for i in range(100):
        assert neigh.find_or_add(rig.w.stack, LAN, 0x0B000000 + i) == 0
    assert len(split(rig.exchange(LAN, reply())[LAN])[1]) == 1


def test_no_arp_learning_into_a_full_table(rig):
    table = neigh.NeighbourTable(rig.stack.neighbours)
    for i in range(neigh.NEIGHBOURS - table.count):
        neigh.learn(rig.w.stack, neigh.find_or_add(rig.w.stack, LAN, 0x0A000000 + i), 0xBB02)
    out = rig.exchange(LAN, arp(1, server(3), server_mac(3), LAN_ADDR, LAN))
    assert Ether(out[LAN][0])[ARP].op == 2  # the answer needs no entry
    assert rig.drops() == {"neigh_full": 1}
