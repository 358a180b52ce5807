"""Services on port 0 over several workers, the death of one, ICMP errors and fragments."""

from __future__ import annotations

import ctypes
import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs import rss, templates
from ipvs.apply_inet import address_number
from ipvs.service import (
    Service,
    ServiceTable,
    ServiceTableStruct,
    find,
    find6,
    link,
    number_of,
    service_at,
    unlink,
)
from stack.address6 import words
from tests import fragments, fragments6
from tests.audit import audit
from tests.ipvs.test_all_ports import (
    CLIENT,
    FOUR,
    PORTS,
    all_ports,
    ask,
    framed,
    index_of,
    new_rig,
    reply_and_wanted,
)
from tests.memory import aligned
from tests.rig import Rig, crew
from tests.topology import VIP
from tests.topology6 import CLIENT6, FROM_CLIENT, VIP6, from_server, network6

TWO_SIDED = ["fullnat", "nat", "fullnat6", "nat6", "nat64"]


def workers(kind, count=2, proto="tcp", known_rss=False):
    """Workers with rings between them and templates they share."""
    memory, address = aligned(templates.templates_bytes(1024))
    templates.initialise(address, 1024)
    rigs = crew(Rig, count, templates=address)
    rigs[0].templates = memory
    for rig in rigs:
        if known_rss:
            rss.fill_tables(rig.w.rss, rss.DEFAULT_KEY)
            rss.set_indirection(rig.w.rss, 1, [i % count for i in range(128)])
        new_rig(kind, proto, rig=rig, servers=4)
    return rigs


def through(rigs, at, port, frame):
    """What comes out of the other port when a frame arrives at one worker: it may go round."""
    got = rigs[at].exchange(port, frame)[1 - port]
    for rig in rigs * 2:
        got += rig.run()[1 - port]
    return got


@pytest.mark.parametrize("kind", TWO_SIDED)
@pytest.mark.parametrize("count", [2, 3])
def test_wherever_packets_arrive_a_client_has_one_server(kind, count):
    """Without RSS knowledge: the local port, or the client's hash, names the owner."""
    rigs = workers(kind, count)
    chosen = set()
    for sport, dport in enumerate(PORTS * 3, 1000):
        (sent,) = through(rigs, sport % count, 0, ask(kind, "tcp", sport, dport))
        chosen.add(index_of(sent))
        reply, wanted = reply_and_wanted(kind, "tcp", sent, sport, dport)
        for at in range(count):
            (back,) = through(rigs, at, 1, reply)
            assert back == wanted
    assert len(chosen) == 1
    assert sum(rig.applier.connections() for rig in rigs) == 12
    assert all(rig.drops() == {} and audit(rig.address) == [] for rig in rigs)
    assert rigs[0].in_flight() == 0


@pytest.mark.parametrize("kind", ["fullnat", "fullnat6", "nat64"])
def test_with_known_rss_replies_return_to_the_workers_own_queue(kind):
    """The hash covers the server's port, which is another one for every connection."""
    rigs = workers(kind, 2, known_rss=True)
    for worker, rig in enumerate(rigs):
        for sport, dport in enumerate(PORTS * 3, 1000):
            (sent,) = rig.exchange(0, ask(kind, "tcp", sport, dport))[1]
            reply, _ = reply_and_wanted(kind, "tcp", sent, sport, dport)
            ip = Ether(reply).payload
            ends = b"".join(ipaddress.ip_address(end).packed for end in (ip.src, ip.dst))
            hashed = rss.toeplitz(rss.DEFAULT_KEY, ends + bytes(ip[TCP])[:4])
            assert hashed % 128 % 2 == worker


@pytest.mark.parametrize("kind", ["fullnat", "fullnat6", "nat64"])
def test_connections_and_templates_outlive_a_worker(kind):
    """After kill -9: ports are held in the pools of the servers' ports, and returned to them."""
    memory, address = aligned(templates.templates_bytes(64))
    templates.initialise(address, 64)
    old = new_rig(kind, rig=Rig(replicas=2, templates=address, capacity=128), servers=4)
    outs = [old.exchange(0, ask(kind, "tcp", 1000 + port, port))[1][0] for port in range(80, 90)]
    held = {"memory": old.shared, "table_memory": old.table_memory, "now": old.stack.now}
    new = network6(Rig(replicas=2, templates=address, capacity=128, **held), ipv4=True)
    all_ports(new, kind, servers=4)
    assert new.worker.recovered == 10 and audit(new.address) == [] and memory
    for port, sent in zip(range(80, 90), outs, strict=True):
        reply, wanted = reply_and_wanted(kind, "tcp", sent, 1000 + port, port)
        assert new.exchange(1, reply) == [[wanted], []]
    more = [new.exchange(0, ask(kind, "tcp", 2000 + port, port))[1][0] for port in range(80, 90)]
    assert {index_of(sent) for sent in outs + more} == {index_of(outs[0])}
    ends = {(Ether(sent)[TCP].sport, Ether(sent)[TCP].dport) for sent in outs + more}
    assert len(ends) == 20 and new.drops() == {} and audit(new.address) == []


@pytest.mark.parametrize("kind", TWO_SIDED)
def test_errors_about_the_servers_port_reach_the_client(kind):
    """A router behind us complains about what we sent; the client reads what it sent itself."""
    rig = new_rig(kind, "udp")
    (sent,) = rig.exchange(0, ask(kind, "udp", 1234, 5060))[1]
    packet = Ether(sent).payload
    if isinstance(packet, IP):
        error = IP(src="198.19.0.99", dst=packet.src) / ICMP(type=3, code=4, nexthopmtu=1400)
    else:
        error = IPv6(src="2001:db8:2::99", dst=packet.src) / ICMPv6PacketTooBig(mtu=1400)
    macs = from_server(index_of(sent))
    frame = bytes(Ether(src=macs[0], dst=macs[1]) / error / Raw(bytes(packet)))
    (told,), lan = rig.exchange(1, frame)
    assert lan == [] and rig.drops() == {}
    at = 14 + (28 if kind in FOUR else 48)
    quoted = (IP if kind in FOUR else IPv6)(told[at:])
    ends = (CLIENT, VIP) if kind in FOUR else (CLIENT6, VIP6)
    assert (quoted.src, quoted.dst) == ends
    port = told[at + (20 if kind in FOUR else 40) :][:4]
    assert port == (1234).to_bytes(2, "big") + (5060).to_bytes(2, "big")


@pytest.mark.parametrize("kind", TWO_SIDED)
@pytest.mark.parametrize("at", [0, 1])
def test_fragments_follow_the_first_to_the_server(kind, at):
    """At either of two workers, also when the client's hash names the other."""
    rigs = workers(kind, 2, "udp")
    payload = bytes(i & 255 for i in range(400))
    layer = UDP(sport=1234, dport=5060) / Raw(payload)
    ends = (CLIENT, VIP) if kind in FOUR else (CLIENT6, VIP6)
    frame = framed(FROM_CLIENT, ends, layer)
    parts = fragments.cut(frame, [16, 32]) if kind in FOUR else fragments6.cut6(frame, [16, 32], 9)
    got = [raw for part in parts for raw in through(rigs, at, 0, part)]
    inside_four = kind in FOUR or kind == "nat64"
    udp = Ether((fragments.joined if inside_four else fragments6.joined6)(got))[UDP]
    assert (udp.dport, bytes(udp.payload)) == (5060, payload)
    assert all(rig.drops() == {} for rig in rigs)


OTHER = "192.0.2.101"
KEYS = st.tuples(
    st.sampled_from([VIP, OTHER, VIP6]), st.sampled_from([0, 0, 80, 443]), st.sampled_from([6, 17])
)


@given(st.lists(st.tuples(st.integers(0, 7), KEYS | st.none()), max_size=12))
def test_lookup_is_of_the_port_first_then_of_all(changes):
    """Services that come, go and change places, against a dictionary."""
    memory, known = ServiceTableStruct(), {}
    table = ctypes.addressof(memory)
    for number, key in changes:
        if key in known.values():
            continue
        unlink(table, number)
        known.pop(number, None)
        if key is not None:
            known[number] = address, port, proto = key
            record = Service(service_at(table, number))
            record.wide = int(":" in address)
            record.high, record.low = words(address) if record.wide else (0, 0)
            record.address = 0 if record.wide else address_number(address)
            record.port, record.proto = port, proto
            link(table, number)
    assert ServiceTable(table).all_ports == sum(key[1] == 0 for key in known.values())
    services = {key: number for number, key in known.items()}
    for address, port, proto in itertools.product((VIP, OTHER, VIP6), (80, 443, 7), (6, 17)):
        wanted = services.get((address, port, proto), services.get((address, 0, proto)))
        if ":" in address:
            got = find6(table, *words(address), port, proto)
        else:
            got = find(table, address_number(address), port, proto)
        assert (number_of(table, got) if got else None) == wanted
