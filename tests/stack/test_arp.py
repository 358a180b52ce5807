"""ARP by RFC 826: who is answered, who is learnt, what waits, and what is malformed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.l2 import ARP, Ether

from stack.events import ADDRESS_CONFLICT, NEIGHBOUR_LEARNT, drain
from tests import crafted as net
from tests.rig import MACS


@pytest.fixture
def rig():
    return net.network()


def test_request_for_our_address_is_answered_in_the_words_of_rfc_826(rig):
    out = net.send(rig, net.LAN, net.ask(net.SERVER, net.SERVER_MAC, net.LAN_IP))
    assert out[0] == [] and len(out[1]) == 1
    reply = Ether(out[1][0])
    assert (reply.dst, reply.src, reply.type) == (net.SERVER_MAC, MACS[1], 0x0806)
    arp = reply[ARP]
    assert (arp.hwtype, arp.ptype, arp.hwlen, arp.plen, arp.op) == (1, 0x0800, 6, 4, 2)
    assert (arp.hwsrc, arp.psrc) == (MACS[1], net.LAN_IP)
    assert (arp.hwdst, arp.pdst) == (net.SERVER_MAC, net.SERVER)
    assert rig.drops() == {} and rig.in_flight() == 0


def test_requester_is_learnt_when_the_request_is_for_us(rig):
    net.send(rig, net.LAN, net.ask(net.SERVER, net.SERVER_MAC, net.LAN_IP))
    assert net.state(rig, net.SERVER) == "REACHABLE"
    assert net.mac_of(rig, net.SERVER) == net.SERVER_MAC


@pytest.mark.parametrize("target", [net.LOCAL_IP, net.LAN_IP])
def test_every_address_of_the_port_is_answered(rig, target):
    assert len(net.send(rig, net.LAN, net.ask(net.SERVER, net.SERVER_MAC, target))[1]) == 1


@pytest.mark.parametrize("target", [net.OTHER, net.WAN_IP, net.VIP])
def test_address_of_others_or_of_the_other_port_is_not_answered(rig, target):
    out = net.send(rig, net.LAN, net.ask(net.SERVER, net.SERVER_MAC, target))
    assert out == [[], []]
    assert net.state(rig, net.SERVER) is None, "an unknown sender that does not talk to us"
    assert rig.drops() == {"arp_target": 1}


def test_known_sender_is_updated_whatever_the_target(rig):
    net.know(rig, (net.SERVER, net.OTHER_MAC))
    out = net.send(rig, net.LAN, net.ask(net.SERVER, net.SERVER_MAC, net.OTHER))
    assert out == [[], []]
    assert net.mac_of(rig, net.SERVER) == net.SERVER_MAC


def test_reply_not_for_us_updates_but_does_not_add(rig):
    net.know(rig, (net.SERVER, net.OTHER_MAC))
    net.send(rig, net.LAN, net.arp(2, net.SERVER, net.SERVER_MAC, net.OTHER))
    net.send(rig, net.LAN, net.arp(2, "198.19.0.77", "02:bb:00:00:00:77", net.OTHER))
    assert net.mac_of(rig, net.SERVER) == net.SERVER_MAC
    assert net.state(rig, "198.19.0.77") is None


@pytest.mark.parametrize("op", [1, 2])
def test_gratuitous_arp_of_a_stranger_adds_nothing(rig, op):
    net.send(rig, net.LAN, net.arp(op, net.SERVER, net.SERVER_MAC, net.SERVER))
    assert net.state(rig, net.SERVER) is None
    assert rig.drops() == {"arp_done": 1}


@pytest.mark.parametrize("op", [1, 2])
def test_gratuitous_arp_of_a_known_neighbour_changes_its_mac(rig, op):
    net.know(rig, (net.SERVER, net.OTHER_MAC))
    net.send(rig, net.LAN, net.arp(op, net.SERVER, net.SERVER_MAC, net.SERVER))
    assert net.mac_of(rig, net.SERVER) == net.SERVER_MAC
    assert (NEIGHBOUR_LEARNT, "198.19.0.11") in [
        (kind, ".".join(str(a >> s & 255) for s in (24, 16, 8, 0)))
        for kind, a, _, _ in drain(rig.stack.events)
    ]


def test_unsolicited_reply_to_us_is_learnt_as_rfc_826_says(rig):
    net.send(rig, net.LAN, net.answer(net.SERVER, net.SERVER_MAC))
    assert net.state(rig, net.SERVER) == "REACHABLE"
    assert rig.drops() == {"arp_done": 1}


def test_address_probe_is_answered_and_teaches_nothing(rig):
    out = net.send(rig, net.LAN, net.ask("0.0.0.0", net.SERVER_MAC, net.LAN_IP))
    reply = Ether(out[1][0])[ARP]
    assert (reply.op, reply.psrc, reply.hwdst) == (2, net.LAN_IP, net.SERVER_MAC)
    assert net.state(rig, "0.0.0.0") is None


@pytest.mark.parametrize("port", [net.WAN, net.LAN])
@pytest.mark.parametrize("op", [1, 2])
def test_another_holder_of_our_address_is_reported(rig, port, op):
    out = net.send(rig, port, net.arp(op, net.LAN_IP, net.SERVER_MAC, net.LAN_IP))
    assert out == [[], []]
    assert rig.drops() == {"arp_sender": 1}
    mac = int.from_bytes(bytes.fromhex(net.SERVER_MAC.replace(":", "")), "little")
    assert drain(rig.stack.events) == [
        (ADDRESS_CONFLICT, net.address_number(net.LAN_IP), mac, port)
    ]
    assert net.state(rig, net.LAN_IP) is None


def malformed():
    good = net.ask(net.SERVER, net.SERVER_MAC, net.LAN_IP)

    def with_bytes(at, data):
        return good[:at] + data + good[at + len(data) :]

    yield "cut", good[:41], "arp_short"
    yield "empty", good[:14], "arp_short"
    yield "hardware type", with_bytes(14, b"\0\6"), "arp_format"
    yield "protocol type", with_bytes(16, b"\x86\xdd"), "arp_format"
    yield "hardware length", with_bytes(18, b"\x08"), "arp_format"
    yield "protocol length", with_bytes(19, b"\x10"), "arp_format"
    for op in (0, 3, 8, 0xFFFF):
        yield f"operation {op}", with_bytes(20, struct.pack(">H", op)), "arp_format"
    yield "zero MAC", with_bytes(22, bytes(6)), "arp_sender"
    yield "multicast MAC", with_bytes(22, b"\x01\0\x5e\0\0\1"), "arp_sender"
    yield "broadcast MAC", with_bytes(22, b"\xff" * 6), "arp_sender"
    yield "our MAC", with_bytes(22, bytes.fromhex(MACS[1].replace(":", ""))), "arp_sender"
    for text in ("127.0.0.1", "224.0.0.5", "255.255.255.255", "240.0.0.1"):
        address = bytes(int(part) for part in text.split("."))
        yield f"sender {text}", with_bytes(28, address), "arp_sender"
    other = bytes.fromhex("02cc00000001")
    yield "frame to another host", other + good[6:], "eth_otherhost"


@pytest.mark.parametrize(("frame", "reason"), [m[1:] for m in malformed()],
                         ids=[m[0] for m in malformed()])  # fmt: skip
def test_malformed_arp_is_dropped_by_name_and_teaches_nothing(rig, frame, reason):
    net.know(rig, (net.SERVER, net.OTHER_MAC))
    assert net.send(rig, net.LAN, frame) == [[], []]
    assert rig.drops() == {reason: 1}
    assert net.mac_of(rig, net.SERVER) == net.OTHER_MAC
    assert rig.in_flight() == 0


def test_trailing_bytes_are_no_fault(rig):
    frame = net.ask(net.SERVER, net.SERVER_MAC, net.LAN_IP) + bytes(18)
    assert len(net.send(rig, net.LAN, frame)[1]) == 1


RIG = None


@settings(max_examples=60)
@given(st.binary(max_size=60), st.integers(0, 1))
def test_any_bytes_behind_the_arp_ethertype(data, port):
    global RIG
    RIG = RIG or net.network()
    before = sum(RIG.drops().values())
    out = net.send(RIG, port, bytes.fromhex("ffffffffffff02cc000000010806") + data, after=1)
    drain(RIG.stack.events)
    assert len(out[0]) + len(out[1]) + sum(RIG.drops().values()) - before == 1
    assert RIG.in_flight() == 0


# Packets that wait for an answer.


def forwarding(rig):
    rig.apply("param.set", forwarding=1)


def numbered(count, first=0):
    return [net.to_lan(id=first + i, size=i) for i in range(count)]


def requests(frames):
    return [Ether(f)[ARP] for f in frames if Ether(f).type == 0x0806]


def test_waiting_packets_go_out_in_order_when_the_answer_comes(rig):
    forwarding(rig)
    out = net.send(rig, net.WAN, *numbered(20))
    (request,) = requests(out[1])
    assert Ether(out[1][0]).dst == net.BROADCAST and len(out[1][0]) == 60
    assert (request.op, request.psrc, request.hwsrc) == (1, net.LAN_IP, MACS[1])
    assert (request.pdst, request.hwdst) == (net.SERVER, "00:00:00:00:00:00")
    assert rig.in_flight() == 20 and net.state(rig, net.SERVER) == "SEND"
    out = net.send(rig, net.LAN, net.answer(net.SERVER, net.SERVER_MAC), after=200)
    packets = [net.checked(f) for f in out[1]]
    assert [p["IP"].id for p in packets] == list(range(20))
    assert {(p.dst, p.src) for p in packets} == {(net.SERVER_MAC, MACS[1])}
    assert rig.in_flight() == 0


def test_the_queue_is_limited_and_keeps_the_oldest(rig):
    forwarding(rig)
    rig.apply("param.set", neigh_queue=5)
    net.send(rig, net.WAN, *numbered(8))
    assert rig.drops() == {"neigh_queue": 3} and rig.in_flight() == 5
    out = net.send(rig, net.LAN, net.answer(net.SERVER, net.SERVER_MAC))
    assert [Ether(f)["IP"].id for f in out[1]] == list(range(5))


def test_two_neighbours_wait_independently(rig):
    forwarding(rig)
    net.send(rig, net.WAN, net.to_lan(id=1), net.to_lan(dst=net.OTHER, id=2), net.to_lan(id=3))
    out = net.send(rig, net.LAN, net.answer(net.OTHER, net.OTHER_MAC))
    assert [Ether(f)["IP"].id for f in out[1]] == [2]
    assert rig.in_flight() == 2
    out = net.send(rig, net.LAN, net.answer(net.SERVER, net.SERVER_MAC))
    assert [Ether(f)["IP"].id for f in out[1]] == [1, 3]


def test_requests_are_repeated_every_second_then_given_up(rig):
    forwarding(rig)
    begin = rig.clock
    out = net.send(rig, net.WAN, *numbered(3))
    times = [0] if requests(out[1]) else []
    while rig.clock < begin + 6000:
        out = net.wait(rig, 50)
        times += [rig.clock - begin] * len(requests(out[1]))
    assert times == [0, 1000, 2000]
    assert rig.drops() == {"neigh_failed": 3}
    assert rig.in_flight() == 0 and net.state(rig, net.SERVER) == "NONE"


def test_a_flood_asks_once_a_second(rig):
    forwarding(rig)
    asked = 0
    for _ in range(30):
        asked += len(requests(net.send(rig, net.WAN, *numbered(10), after=30)[1]))
    assert asked == 1


def test_after_giving_up_the_next_packet_asks_again(rig):
    forwarding(rig)
    net.send(rig, net.WAN, *numbered(1))
    net.wait(rig, 4000)
    out = net.send(rig, net.WAN, *numbered(1))
    assert len(requests(out[1])) == 1 and net.state(rig, net.SERVER) == "SEND"
    out = net.send(rig, net.LAN, net.answer(net.SERVER, net.SERVER_MAC), after=10)
    assert len(out[1]) == 1


def test_removing_a_neighbour_drops_what_waits_for_it(rig):
    forwarding(rig)
    net.send(rig, net.WAN, *numbered(4))
    rig.apply("neigh.del", addr=net.SERVER, dev=net.LAN)
    assert rig.drops() == {"neigh_failed": 4} and rig.in_flight() == 0


def test_the_gateway_is_asked_for_remote_destinations(rig):
    forwarding(rig)
    out = net.send(rig, net.LAN, net.Ether(src=net.SERVER_MAC, dst=MACS[1])
                   / net.IP(src=net.SERVER, dst=net.REMOTE) / net.UDP() / b"x")  # fmt: skip
    (request,) = requests(out[0])
    assert (request.psrc, request.pdst) == (net.WAN_IP, net.GATEWAY)


@pytest.mark.parametrize(
    ("record", "more"), [("addr.set", {"plen": 32, "sapool": False}), ("announce", {})]
)
def test_our_addresses_are_announced(rig, record, more):
    rig.apply(record, addr=net.VIP, dev=net.WAN, **more)
    (frame,) = rig.at(rig.clock)[0]
    arp = Ether(frame)[ARP]
    assert Ether(frame).dst == net.BROADCAST
    assert (arp.op, arp.psrc, arp.pdst, arp.hwsrc) == (1, net.VIP, net.VIP, MACS[0])


def test_no_mbuf_for_a_request_is_counted_and_survived(rig):
    forwarding(rig)
    rig.push(net.WAN, bytes(net.to_lan()))
    free = rig.pool.free
    kept = [free.popleft() for _ in range(len(free) - 1)]
    rig.at(rig.clock)
    assert rig.drops() == {"no_mbuf": 1} and not free
    free.extend(kept)
    assert len(requests(net.wait(rig, 1000)[1])) == 1
