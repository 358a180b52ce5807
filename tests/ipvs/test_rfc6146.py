"""RFC 6146 by clause: NAT64 sessions, their states and lifetimes, and what finds none.

The IPv4 servers are those of a service, not part of an IPv6 prefix: what RFC 6146 says of
synthesised addresses (3.5.4, DNS64) has no place here.
"""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests import oracle
from tests.audit import audit
from tests.fragments6 import cut6
from tests.rig import Rig
from tests.topology import LOCAL, SERVERS, dest
from tests.topology6 import CLIENT6, FROM_CLIENT, VIP6, frame6, network6, service6
from tests.topology64 import FROM_SERVER, SERVER, answer, as_ipv4, as_ipv6, l4_of
from tools.daemon.listing import connections


class Box:
    """A NAT64 service of a protocol on one server, and a clock that the test moves."""

    def __init__(self, proto="udp", **more):
        self.proto = proto
        self.rig = network6(Rig(now=1_000_000, **more), ipv4=True)
        service6(self.rig, [dest(0)], proto=proto, laddrs=[1, 0])

    def out(self, flags="S", sport=1000, client=CLIENT6, payload=b""):
        """A client's packet; what the server gets, or None."""
        layer = oracle.segment(self.proto, sport, 80, flags, payload)
        wan, lan = self.rig.at_once(0, frame6(FROM_CLIENT, (client, VIP6), layer))
        assert wan == []
        return lan[0] if lan else None

    def back(self, sent, flags="SA", server=SERVER, sport=8080, payload=b""):
        """The server's answer to what it was sent; what the client gets, or None."""
        layer = oracle.segment(self.proto, sport, l4_of(Ether(sent)[IP]).sport, flags, payload)
        wan, lan = self.rig.at_once(1, oracle.frame(FROM_SERVER, (server, LOCAL), layer))
        assert lan == []
        return wan[0] if wan else None

    def wait(self, seconds):
        """Let time pass; how many connections are there then."""
        for _ in range(seconds):
            self.rig.at(self.rig.stack.now + 1000)
        return self.rig.applier.connections()

    def state(self):
        (row,) = connections(self.rig.address, 0, 10, None)["conns"]
        return row["state"], row["expire"]


def test_rfc6146_3_5_1_a_udp_session_and_its_lifetime():
    """At least UDP_MIN, 2 minutes; 5 by default, from the last packet of either side."""
    box = Box()
    sent = box.out()
    assert box.state() == ("UDP_ONEWAY", 300)
    assert box.wait(299) == 1
    assert box.out() is not None and box.back(sent) is not None
    assert box.state() == ("UDP_NORM", 300)
    assert box.wait(200) == 1
    assert box.back(sent) is not None
    assert box.wait(299) == 1
    assert box.wait(3) == 0 and audit(box.rig.address) == []
    assert box.back(sent) is None
    assert box.rig.drops() == {"no_service": 1}


def test_rfc6146_3_5_1_one_client_port_is_one_binding():
    """The same local port for all packets of a client's port, another for another port."""
    box = Box()
    ports = [l4_of(Ether(box.out(sport=sport))[IP]).sport for sport in (1000, 1001, 1000, 1001)]
    assert ports[0] == ports[2] != ports[1] == ports[3]
    assert box.rig.applier.connections() == 2


def test_rfc6146_3_5_1_only_the_server_asked_may_answer():
    """Address-dependent filtering."""
    box = Box()
    sent = box.out()
    assert box.back(sent, server=SERVERS[1]) is None and box.back(sent, sport=8081) is None
    assert box.rig.drops() == {"no_service": 2}
    assert box.back(sent) == as_ipv6(answer(sent, "udp"), (CLIENT6, 1000))


WALKS = {
    "V6 INIT, ESTABLISHED": ("c:S SYN_RECV", "s:SA SYN_RECV", "c:A TCP_EST", "s:PA TCP_EST"),
    "simultaneous open": ("c:S SYN_RECV", "s:S SYN_RECV", "c:SA SYN_RECV", "c:A TCP_EST"),
    "V6 FIN RCV": ("c:S SYN_RECV", "s:SA SYN_RECV", "c:A TCP_EST", "c:FA CLOSE_WAIT",
                   "s:PA CLOSE_WAIT", "s:FA TIME_WAIT"),
    "V4 FIN RCV": ("c:S SYN_RECV", "s:SA SYN_RECV", "c:A TCP_EST", "s:FA FIN_WAIT",
                   "c:PA FIN_WAIT", "c:FA TIME_WAIT"),
    "RST of the client": ("c:S SYN_RECV", "s:SA SYN_RECV", "c:A TCP_EST", "c:R TCP_CLOSE"),
    "RST of the server": ("c:S SYN_RECV", "s:SA SYN_RECV", "c:A TCP_EST", "s:R TCP_CLOSE"),
}  # fmt: skip


@pytest.mark.parametrize("name", WALKS)
def test_rfc6146_3_5_2_2_a_tcp_session_walks_through_its_states(name):
    """All packets pass; the states are the reference's, of which each of the RFC has one."""
    box = Box("tcp")
    sent = None
    for step in WALKS[name]:
        who, flags, state = step[0], *step[2:].split()
        if who == "c":
            sent = box.out(flags)
            assert sent is not None
        else:
            assert box.back(sent, flags) is not None
        assert box.state()[0] == state, step
    assert box.rig.drops() == {}


def test_rfc6146_3_5_2_2_only_a_syn_opens_a_session():
    for flags in ("A", "FA", "R", "SA", "", "PA"):
        box = Box("tcp")
        assert box.out(flags) is None
        assert box.rig.drops() == {"not_syn": 1} and box.rig.applier.connections() == 0


def test_rfc6146_3_5_2_2_a_syn_from_the_ipv4_side_opens_nothing():
    """The server's SYN to a local address is an answer to nobody: silently dropped."""
    box = Box("tcp")
    layer = oracle.segment("tcp", 8080, 2000, "S")
    frame = oracle.frame(FROM_SERVER, (SERVER, LOCAL), layer)
    assert box.rig.at_once(1, frame) == [[], []]
    assert box.rig.drops() == {"no_service": 1} and box.rig.applier.connections() == 0


def test_rfc6146_4_lifetimes_of_tcp_are_settings():
    """The reference's 90 s and 30 s by default; here TCP_EST and TCP_TRANS of section 4."""
    box = Box("tcp")
    assert box.out() is not None and box.state() == ("SYN_RECV", 30)
    box = Box("tcp")
    box.rig.apply("param.set", tcp_timeouts={"established": 7440, "syn_recv": 240})
    sent = box.out()
    assert box.state() == ("SYN_RECV", 240)
    box.back(sent)
    box.out("A")
    assert box.state() == ("TCP_EST", 7440)
    for _ in range(743):
        box.rig.at(box.rig.stack.now + 10_000)
    assert box.rig.applier.connections() == 1 and box.out("A") is not None


def test_rfc6146_3_4_fragments_find_their_session_in_any_order():
    """For at least FRAGMENT_MIN, 2 seconds; then the datagram is given up."""
    box = Box()
    layer = oracle.segment("udp", 1000, 80, payload=bytes(range(200)))
    first, middle, last = cut6(frame6(FROM_CLIENT, (CLIENT6, VIP6), layer), [5, 12], 99)
    assert box.rig.at_once(0, last) == [[], []]
    box.rig.at(box.rig.stack.now + 1900)
    assert box.rig.at_once(0, middle) == [[], []]
    _, lan = box.rig.at_once(0, first)
    assert len(lan) == 3 and {Ether(frame)[IP].id for frame in lan} == {99}
    assert {Ether(frame)[IP].frag for frame in lan} == {0, 5, 12}
    _, lost, _ = cut6(frame6(FROM_CLIENT, (CLIENT6, VIP6), layer), [5, 12], 100)
    box.rig.at_once(0, lost)
    box.rig.at(box.rig.stack.now + 2500, rounds=100)
    assert box.rig.drops() == {"frag_timeout": 1} and box.rig.in_flight() == 0


def test_rfc6146_3_4_udp_without_checksum():
    """Over IPv6 it is dropped, from IPv4 it gets one."""
    box = Box()
    layer = UDP(sport=1000, dport=80, chksum=0) / Raw(b"x")
    assert box.rig.at_once(0, frame6(FROM_CLIENT, (CLIENT6, VIP6), layer)) == [[], []]
    assert box.rig.drops() == {"udp6_checksum": 1}
    reply = answer(box.out(), "udp", b"xyz", {"chksum": 0})
    wan, _ = box.rig.at_once(1, reply)
    assert wan == [as_ipv6(reply, (CLIENT6, 1000))]


def test_rfc6146_3_5_4_errors_neither_make_nor_refresh_nor_end_a_session():
    box = Box()
    sent = box.out()
    error = IP(src="198.19.0.254", dst=LOCAL) / ICMP(type=3, code=3) / Raw(sent[14:])
    frame = bytes(Ether(src=FROM_SERVER[0], dst=FROM_SERVER[1]) / error)
    box.wait(298)
    wan, _ = box.rig.at_once(1, frame)
    assert len(wan) == 1 and box.rig.applier.connections() == 1
    assert box.wait(4) == 0
    assert box.rig.at_once(1, frame) == [[], []]
    assert box.rig.applier.connections() == 0 and box.rig.drops() == {"icmp_unrelated": 1}


def test_rfc6146_3_6_the_transport_address_outside_is_a_local_one():
    """Source: a local address and its port, never the client's; destination: the server."""
    box = Box("tcp")
    seen = set()
    for number in range(1, 30):
        sent = box.out(client=f"2001:db8:77::{number:x}", sport=1000)
        ip = Ether(sent)[IP]
        assert (ip.src, ip.dst, ip[TCP].dport) == (LOCAL, SERVER, 8080)
        seen.add(ip[TCP].sport)
    assert len(seen) == 29 and min(seen) > 1024


def test_rfc6146_3_7_headers_and_payload_are_translated_both_ways():
    box = Box()
    for payload in (b"", b"x", bytes(range(256))):
        layer = oracle.segment("udp", 1000, 80, payload=payload)
        raw = frame6(FROM_CLIENT, (CLIENT6, VIP6), layer)
        _, (sent,) = box.rig.at_once(0, raw)
        assert sent == as_ipv4(raw, sent)
        reply = answer(sent, "udp", payload)
        wan, _ = box.rig.at_once(1, reply)
        assert wan == [as_ipv6(reply, (CLIENT6, 1000))]


def test_rfc6146_5_3_a_full_table_or_pool_is_a_drop_with_a_name():
    box = Box(capacity=4)
    assert [box.out(sport=sport) is not None for sport in (1000, 1001, 1002)] == [
        True, False, False
    ]  # fmt: skip
    assert box.rig.drops() == {"conn_full": 2} and audit(box.rig.address) == []
    assert box.out(sport=1000) is not None
