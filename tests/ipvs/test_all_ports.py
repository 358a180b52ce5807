"""Services on port 0: all ports of an address that have no service of their own.  Exact bytes in
every mode and both families; a client goes to one real server with all its connections."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit, SCTPChunkInitAck
from scapy.packet import Raw

from ipvs.laddr import LADDR_STATS_SIZE, LaddrStats
from ipvs.service import ServiceTable
from tests import oracle
from tests.audit import audit
from tests.ipvs.test_proxy_header import binary
from tests.rig import Rig
from tests.topology import (
    LOCAL,
    SERVER_MACS,
    SERVERS,
    VIP,
    dest,
    service,
)
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
    service6,
    to_server,
)
from tests.topology64 import encapsulated
from tools.daemon.listing import connections
from tools.daemon.template_list import templates

CLIENT = "203.0.113.7"
FOUR = ["fullnat", "nat", "dr", "tunnel", "4in6"]
KINDS = [*FOUR, "fullnat6", "nat6", "dr6", "nat64", "6in6", "6in4"]
PORTS = (21, 80, 443, 65535)
LAYERS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}


def mode_of(kind):
    if kind == "nat64":
        return "fullnat"
    return "tunnel" if "in" in kind else kind.removesuffix("6")


def all_ports(rig, kind, proto="tcp", servers=2, **changes):
    """A service of all ports; local addresses: IPv4 0, IPv6 1."""
    inside = dest if kind in (*FOUR[:4], "nat64", "6in4") else dest6
    number = list(LAYERS).index(proto)
    dests = [inside(4 * number + i, mode=mode_of(kind), port=0) for i in range(servers)]
    options = {
        "id": number,
        "proto": proto,
        "port": 0,
        "persistent": 360,
        "laddrs": [0, 1],
    } | changes
    (service if kind in FOUR else service6)(rig, dests, **options)
    return rig


def new_rig(kind, proto="tcp", rig=None, **changes):
    return all_ports(network6(rig or Rig(), ipv4=True), kind, proto, **changes)


def segment(proto, sport, dport, back=False, payload=b""):
    if proto == "sctp":
        chunk = SCTPChunkInitAck(init_tag=6) if back else SCTPChunkInit(init_tag=5)
        return SCTP(sport=sport, dport=dport, tag=5 if back else 0) / chunk
    return oracle.segment(proto, sport, dport, "SA" if back else "S", payload)


def framed(macs, ends, layer):
    """A frame of the family that the addresses have."""
    return (frame6 if ":" in ends[0] else oracle.frame)(macs, ends, layer)


def ask(kind, proto, sport, dport, client=None):
    """A client's first packet."""
    ends = (client or CLIENT, VIP) if kind in FOUR else (client or CLIENT6, VIP6)
    return framed(FROM_CLIENT, ends, segment(proto, sport, dport, payload=b"x" * (proto == "udp")))


def inside_ends(kind, index):
    """Addresses (source, destination) of what a real server gets."""
    if kind in ("fullnat", "nat64"):
        return LOCAL, SERVERS[index]
    if kind == "fullnat6":
        return LOCAL6, SERVERS6[index]
    return (CLIENT, SERVERS[index]) if kind == "nat" else (CLIENT6, SERVERS6[index])


def index_of(sent):
    return SERVER_MACS.index(sent[:6].hex(":"))


def delivered(kind, proto, frame, sent, sport, dport):
    """What must arrive at the server that was chosen; id and local port as they are sent."""
    index = index_of(sent)
    if kind in ("dr", "dr6"):
        return bytes.fromhex("".join(reversed(to_server(index))).replace(":", "")) + frame[12:]
    if "in" in kind or kind == "tunnel":
        return tunnelled(kind, frame, sent, index)
    got = Ether(sent)
    source, target = inside_ends(kind, index)
    lport = sport if mode_of(kind) == "nat" else got[LAYERS[proto]].sport
    layer = segment(proto, lport, dport, payload=b"x" * (proto == "udp"))
    if kind == "nat64":
        return oracle.frame(to_server(index), (source, target), layer, id=got[IP].id)
    return framed(to_server(index), (source, target), layer)


def tunnelled(kind, frame, sent, index):
    if kind == "tunnel":
        inner = frame[14:]
        ident = int.from_bytes(sent[18:20], "big")
        outer = IP(src="198.19.0.1", dst=SERVERS[index], proto=4, id=ident, ttl=inner[8])
        return bytes(Ether(src=to_server(index)[0], dst=to_server(index)[1]) / outer / Raw(inner))
    assert index == 0, "the oracle's server"
    return encapsulated(kind, frame, sent)


def reply_and_wanted(kind, proto, sent, sport, dport, client=None):
    """What the server answers to what it got, and what the client must get."""
    index = index_of(sent)
    lport = Ether(sent)[LAYERS[proto]].sport
    near, far = inside_ends(kind, index)
    if mode_of(kind) == "nat":
        near = client or near
    reply = framed(from_server(index), (far, near), segment(proto, dport, lport, back=True))
    four = kind in FOUR
    ends = (VIP, client or CLIENT) if four else (VIP6, client or CLIENT6)
    return reply, framed(TO_CLIENT, ends, segment(proto, dport, sport, back=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_is_reached_on_the_port_that_the_client_asks_for(kind):
    """Every byte, both ways, in each protocol."""
    rig = network6(Rig(), ipv4=True)
    for proto in LAYERS:
        all_ports(rig, kind, proto, servers=1 if "in" in kind else 2)
        ask_and_answer(rig, kind, proto)
    assert rig.drops() == {} and audit(rig.address) == [] and rig.in_flight() == 0
    rows = connections(rig.address, 0, 100, None)["conns"]
    assert sorted(row["vport"] for row in rows) == sorted(PORTS * 3)
    if mode_of(kind) in ("fullnat", "nat"):
        assert all(row["dport"] == row["vport"] for row in rows)
    rows = templates(rig.address, 0, 100, None)["conns"]
    assert sorted(row["proto"] for row in rows) == sorted(LAYERS)
    assert {(row["vport"], row["dport"], row["cport"]) for row in rows} == {(0, 0, 0)}


def ask_and_answer(rig, kind, proto):
    """Connections of one client to several ports, which meet one server."""
    chosen = set()
    for sport, dport in enumerate(PORTS, 1000):
        frame = ask(kind, proto, sport, dport)
        for _ in range(2):  # then as a known connection
            wan, (sent,) = rig.exchange(0, frame)
            assert wan == [] and sent == delivered(kind, proto, frame, sent, sport, dport)
        chosen.add(index_of(sent))
        if mode_of(kind) in ("fullnat", "nat"):
            reply, wanted = reply_and_wanted(kind, proto, sent, sport, dport)
            assert rig.exchange(1, reply) == [[wanted], []]
    assert len(chosen) == 1


@pytest.mark.parametrize("kind", ["fullnat", "fullnat6"])
def test_ports_with_a_service_of_their_own_are_not_its(kind):
    rig = new_rig(kind)
    own = [dest(2), dest(3)] if kind == "fullnat" else [dest6(2), dest6(3)]
    (service if kind == "fullnat" else service6)(rig, own, id=9, port=443, laddrs=[0, 1])

    def chosen(sport, dport, client=None):
        _, (sent,) = rig.exchange(0, ask(kind, "tcp", sport, dport, client))
        return index_of(sent)

    clients = [CLIENT, "203.0.113.8"] if kind == "fullnat" else [CLIENT6, "2001:db8:cafe::8"]
    first, second = (
        {chosen(sport, 80 + sport, client) for sport in range(1, 7)} for client in clients
    )
    assert len(first) == len(second) == 1 and first | second == {0, 1}
    assert [chosen(sport, 443) for sport in range(10, 14)] == [2, 3, 2, 3]
    # Nobody's protocol is taken with it.
    assert rig.exchange(0, ask(kind, "udp", 1, 80)) == [[], []]
    assert rig.drops() == {"no_service": 1}
    # Without its own service the port is one of all; what is open goes on.
    rig.apply("svc.del", id=9)
    assert {chosen(sport, 443) for sport in range(20, 24)} == first
    assert chosen(10, 443) == 2
    # The service ends: ports are nobody's again.
    rig.apply("svc.del", id=0)
    assert rig.exchange(0, ask(kind, "tcp", 30, 80)) == [[], []]
    assert rig.drops() == {"no_service": 2} and audit(rig.address) == []


@pytest.mark.parametrize("kind", ["fullnat", "fullnat6", "nat64"])
def test_local_ports_are_of_the_pool_of_server_and_port(kind):
    """The same local port serves connections to different ports at once; all come back."""
    rig = new_rig(kind, rig=Rig(replicas=2), servers=1)
    took = {}
    for sport, dport in enumerate([80, 81, 82], 1000):
        _, (sent,) = rig.exchange(0, ask(kind, "tcp", sport, dport))
        took[dport] = Ether(sent)[TCP].sport
        reply, wanted = reply_and_wanted(kind, "tcp", sent, sport, dport)
        assert rig.exchange(1, reply) == [[wanted], []]
    assert took[80] == took[81] != took[82]
    assert audit(rig.address) == []
    pool = rig.w.laddr_stats + (1 if kind == "fullnat6" else 0) * LADDR_STATS_SIZE
    assert LaddrStats(pool).used == 3
    rig.at(rig.stack.now + 4_000_000, rounds=80)
    rig.at(rig.stack.now + 4_000_000, rounds=80)
    assert rig.applier.connections() == LaddrStats(pool).used == 0 and audit(rig.address) == []


@pytest.mark.parametrize("kind", ["fullnat", "fullnat6", "nat64"])
def test_the_proxy_header_names_the_port_that_was_asked_for(kind):
    rig = new_rig(kind, "udp", proxy_protocol="v2")
    (sent,) = rig.exchange(0, ask(kind, "udp", 1234, 5060))[1]
    ends = (CLIENT, VIP) if kind in FOUR else (CLIENT6, VIP6)
    header = binary(*(ip_address(end).packed for end in ends), 1234, 5060, 2)
    assert bytes(Ether(sent)[UDP].payload) == header + b"x"


def test_match_services_and_others_change_nothing():
    """A service of all ports that comes and goes beside a match service, which has no port."""
    rig = network6(Rig(), ipv4=True)
    anything = ("0.0.0.0", "255.255.255.255")
    rig.apply("route.set", dst="198.18.0.9", plen=32, kind="local", dev=0)
    rig.apply("laddr.set", id=8, addr="198.18.0.9", dev=0)
    service(
        rig, [dest(5, addr="198.18.0.9", port=0, mode="snat", pool=8)], id=7, addr="0.0.0.0",
        port=0, laddrs=[], match={"src": anything, "dst": anything, "sport": (0, 65535),
        "dport": (0, 65535), "iif": 1, "oif": None, "order": 0},
    )  # fmt: skip
    table = ServiceTable(rig.w.services)
    assert (table.count, table.all_ports) == (1, 0)
    for _ in range(2):
        all_ports(rig, "fullnat")
    assert (table.count, table.all_ports) == (2, 1)
    layer = segment("tcp", 5000, 80)
    (out,), _ = rig.exchange(1, oracle.frame(from_server(), (SERVERS[0], CLIENT), layer))
    assert Ether(out)[IP].src == "198.18.0.9"
    rig.apply("svc.del", id=0)
    assert (table.count, table.all_ports) == (1, 0)


def test_without_servers_or_to_port_0():
    rig = new_rig("fullnat", servers=0)
    rig.exchange(0, ask("fullnat", "tcp", 1, 80))
    rig.exchange(0, ask("fullnat", "tcp", 1, 0))
    rig.exchange(0, framed(FROM_CLIENT, (CLIENT, VIP), TCP(sport=1, dport=9, flags="A")))
    assert rig.drops() == {"no_dest": 1, "l4_port_zero": 1, "not_syn": 1}
    assert audit(rig.address) == []
