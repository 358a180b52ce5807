"""Another thread's way to the tables of a thread that polls, and of one that does not."""

from __future__ import annotations

import ctypes
import threading

import pytest
from scapy.layers.inet import UDP

from ipvs.apply import ApplyError
from ipvs.gate import GateClosed, ThreadGate
from ipvs.operations import DONE, ROUTE_DELETE, STORE8, STORE16, STORE32, STORE64
from stack import neigh, route
from stack.drops import REASONS
from stack.events import NEIGHBOUR_LEARNT, drain, emit
from tests import oracle
from tests.polled import Polled
from tests.rig import Rig
from tests.topology import GATEWAY_MAC, VIP, WAN_MAC, dest, network, service
from tests.waiting import PATIENCE, eventually


def request(port: int) -> bytes:
    """A client's datagram to the service."""
    udp = UDP(sport=port, dport=80) / b"x"
    return oracle.frame((GATEWAY_MAC, WAN_MAC), ("198.51.100.7", VIP), udp)


def test_records_reach_the_polled_tables_and_packets_go_on() -> None:
    polled = Polled()
    with polled as rig:
        before = int(polled.control.visits)
        rig.apply("laddr.set", id=3, addr="198.19.0.203", dev=1)
        service(rig, [dest(0)], proto="udp", laddrs=[3])
        rig.apply(
            "route.set", dst="203.0.113.0", plen=24, kind="gateway", dev=0, via="198.18.0.254"
        )
        rig.apply("param.set", xmit_ttl=1)
        rig.apply("laddr.del", id=0)
        assert polled.control.visits - before == 5
        assert rig.w.xmit_ttl == 1
        assert route.find_exact(rig.stack.routes, 0xCB007100, 24)
        rig.apply("route.del", dst="203.0.113.0", plen=24)
        assert not route.find_exact(rig.stack.routes, 0xCB007100, 24)
        frame = request(1234)
        rig.push(0, frame)
        eventually(lambda: rig.ports[1].sent)
        assert len(rig.ports[1].sent) == 1 and rig.drops() == {}
    assert polled.control.excursion_tsc > 0 and polled.control.visit == 0


def test_a_full_table_is_an_error_and_the_loop_goes_on() -> None:
    polled = Polled()
    table = neigh.NeighbourTable(polled.rig.stack.neighbours)
    with polled as rig:
        table.count = neigh.NEIGHBOURS
        table.no_victim = 1
        # Ageing allows another search at times: until then the table is full.
        with pytest.raises(ApplyError, match="neighbour table full"):
            for octet in range(1, 250):
                rig.apply("neigh.set", addr=f"198.18.9.{octet}", dev=0, mac="02:00:00:00:00:01")
                table.no_victim = 1
        rig.apply("route.set", dst="203.0.113.0", plen=24, kind="link", dev=0)
        assert polled.thread.is_alive()


def test_it_stands_still_while_another_works_alone() -> None:
    polled = Polled()
    with polled as rig:
        with rig.applier.gate.alone():
            assert polled.control.parked == 1
            seen = int(polled.control.iterations), polled.life.heartbeat
            threading.Event().wait(0.02)
            assert (int(polled.control.iterations), polled.life.heartbeat) == seen
        assert polled.control.parked == 0
        eventually(lambda: int(polled.control.iterations) > seen[0])


def test_a_stop_ends_a_loop_that_stands_still() -> None:
    polled = Polled()
    with polled as rig, rig.applier.gate.alone():
        polled.life.stop = 1
        polled.thread.join(PATIENCE)
        assert not polled.thread.is_alive()


def test_a_loop_that_does_not_answer_is_an_error() -> None:
    rig = Rig()
    gate = ThreadGate(rig.address, patience=0.05)
    with pytest.raises(GateClosed, match="does not answer"):
        gate.run([(ROUTE_DELETE, 0, 0)])
    with pytest.raises(GateClosed), gate.alone():
        raise AssertionError("never inside")


def test_stores_of_every_width() -> None:
    rig = Rig()
    memory = (ctypes.c_uint8 * 32)(*[0xEE] * 32)
    at = ctypes.addressof(memory)
    steps = [
        (STORE8, at, 0x11), (STORE16, at + 8, 0x2211), (STORE32, at + 16, 0x44332211),
        (STORE64, at + 24, 0x0807060504030201),
    ]  # fmt: skip
    assert rig.applier.gate.run(steps) and DONE == 1
    wanted = bytearray(b"\xee" * 32)
    wanted[0], wanted[8:10], wanted[16:20] = 0x11, b"\x11\x22", b"\x11\x22\x33\x44"
    wanted[24:32] = bytes(range(1, 9))
    assert bytes(memory) == bytes(wanted)


def test_turns_go_on_when_a_service_is_replaced() -> None:
    rig = Rig()
    network(rig)
    dests = [dest(0), dest(1), dest(2)]
    service(rig, dests, proto="udp")
    servers = []
    for port in range(2000, 2006):
        (out,) = rig.exchange(0, request(port))[1]
        servers.append(out[30:34])
        service(rig, dests, proto="udp")
    assert servers[:3] == servers[3:] and len(set(servers[:3])) == 3


def test_events_pass_between_threads_in_order() -> None:
    rig = Rig()
    queue = int(rig.stack.events)
    for number in range(5):
        assert emit(queue, NEIGHBOUR_LEARNT, number, 2, 3)
    assert [event[1] for event in drain(queue)] == list(range(5)) and drain(queue) == []
    assert REASONS
