"""SNAT: what inside hosts send leaves with an address and port of ours, answers find them again."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.laddr import LADDR_SIZE, LADDR_STATS_SIZE, Laddr, LaddrStats, Replica
from ipvs.table import entry_of
from tests import oracle
from tests.fragments import cut, joined
from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    FAR,
    LAN,
    LAN_ADDR,
    MACS,
    OUTSIDE,
    ROUTER_MAC,
    WAN,
    WAN_ADDR,
    Rig,
    server,
    server_mac,
)
from tests.rig import connect
from tests.wire import tuple_of
from tools.daemon.listing import connection_row

PROTOS = ("tcp", "udp", "icmp", "sctp")
SECOND = "198.18.0.10"  # another outside address
OPTIONS = b"\x07\x07\x04\x00\x00\x00\x00\x00"  # record route


def snat_rig(protos=PROTOS, **options):
    rig = Rig(static=True, **options)
    for number, proto in enumerate(protos):
        rig.snat(number, proto, dest=number)
    return rig


def layer(proto, sport, dport, flags="S", payload=b""):
    if proto == "icmp":
        return ICMP(type=8, id=sport, seq=dport) / Raw(payload)
    return oracle.segment(proto, sport, dport, flags, payload)


def from_inside(l4, host=0, dst=FAR, **ip):
    return Ether(src=server_mac(host), dst=MACS[LAN]) / IP(src=server(host), dst=dst, **ip) / l4


def from_outside(l4, src=FAR, dst=OUTSIDE, **ip):
    return Ether(src=ROUTER_MAC, dst=MACS[WAN]) / IP(src=src, dst=dst, **ip) / l4


def number_of(frame):
    """The port, or echo identifier, that a sent frame has for the inside host."""
    l4 = 14 + (frame[14] & 15) * 4
    return struct.unpack_from(">H", frame, l4 + (4 if frame[23] == 1 else 0))[0]


def translated(frame, macs, src, dst, sport=None, dport=None, ident=None, ttl_step=0):
    """What must leave for ``frame``: scapy computes every checksum of it anew."""
    old = IP(bytes(frame)[14:])
    old = IP(bytes(old)[: old.len])
    old.src, old.dst, old.ttl = src, dst, old.ttl - ttl_step
    del old.chksum
    l4 = old.payload
    if ident is not None:
        l4.id = ident
    else:
        l4.sport, l4.dport = sport, dport
    if not (isinstance(l4, UDP) and l4.chksum == 0):
        del l4.chksum
    return bytes(Ether(src=macs[0], dst=macs[1]) / old)


def go_out(rig, proto, sport, dst=FAR, dport=443, host=0, payload=b"", check=True, **ip):
    """An inside host sends; the frame that left is exactly right. Returns its number."""
    frame = from_inside(layer(proto, sport, dport, payload=payload), host, dst, **ip)
    wan, lan = rig.exchange(LAN, frame)
    assert lan == [] and len(wan) == 1, rig.drops()
    number = number_of(wan[0])
    source = tuple_of(wan[0]).src
    mac = CLIENT_MAC if dst == CLIENT else ROUTER_MAC
    if check:
        tuple_ = {"ident": number} if proto == "icmp" else {"sport": number, "dport": dport}
        wanted = translated(frame, (MACS[WAN], mac), source, dst, **tuple_)
        assert wan == [wanted] and source in (OUTSIDE, SECOND)
    return number


def come_back(rig, proto, number, sport, src=FAR, dport=443, host=0, payload=b"", **ip):
    """The outside host answers; the frame that reaches the inside host is exactly right."""
    if proto == "icmp":
        l4, tuple_ = ICMP(type=0, id=number, seq=dport) / Raw(payload), {"ident": sport}
    else:
        l4 = layer(proto, dport, number, "SA", payload)
        tuple_ = {"sport": dport, "dport": sport}
    frame = from_outside(l4, src, **ip)
    wan, lan = rig.exchange(WAN, frame)
    wanted = translated(frame, (MACS[LAN], server_mac(host)), src, server(host), **tuple_)
    assert (wan, lan) == ([], [wanted]), rig.drops()


@pytest.fixture(scope="module")
def shared():
    rig = snat_rig(capacity=8192)
    yield rig
    assert rig.clean()


@settings(max_examples=30)
@given(
    proto=st.sampled_from(PROTOS), sport=st.integers(1, 65535), dport=st.integers(1, 65535),
    host=st.integers(0, 3), dst=st.sampled_from([FAR, CLIENT, "203.0.113.77"]),
    out=st.binary(max_size=50) | st.integers(0, 1400).map(bytes), back=st.binary(max_size=50),
    tos=st.integers(0, 255), ident=st.integers(0, 65535), options=st.booleans(),
)  # fmt: skip
def test_rfc3022_reply_restores_the_tuple(
    shared, proto, sport, dport, host, dst, out, back, tos, ident, options
):
    """Out and back again, to the last byte; the same port for every packet of a connection."""
    ip = {"tos": tos, "id": ident} | ({"options": [OPTIONS]} if options else {})
    number = go_out(shared, proto, sport, dst, dport, host, out, **ip)
    come_back(shared, proto, number, sport, dst, dport, host, back, **ip)
    assert go_out(shared, proto, sport, dst, dport, host, out, **ip) == number
    assert shared.complete()


@settings(max_examples=6)
@given(
    st.lists(
        st.tuples(st.sampled_from(PROTOS), st.integers(0, 3), st.integers(1, 5), st.integers(1, 2)),
        min_size=1, max_size=40,
    ),
)  # fmt: skip
def test_no_two_connections_share_a_translated_tuple(sent):
    rig = snat_rig()
    seen = {}
    for proto, host, sport, far in sent:
        dst = f"203.0.113.{far}"
        dport = 0 if proto == "icmp" else 443
        number = go_out(rig, proto, sport, dst, dport, host, check=False)
        whose = (proto, host, sport, dst)
        assert seen.setdefault((proto, dst, number), whose) == whose
        come_back(rig, proto, number, sport, dst, dport, host)
    assert rig.connections() == len(set(seen.values())) and rig.clean()


def test_rfc5508_req1_two_hosts_with_one_identifier_do_not_collide():
    rig = snat_rig()
    first = go_out(rig, "icmp", 7, host=0, dport=1)
    second = go_out(rig, "icmp", 7, host=1, dport=1)
    assert first != second
    come_back(rig, "icmp", second, 7, dport=1, host=1)
    come_back(rig, "icmp", first, 7, dport=1, host=0)
    # A request from outside to the mapped identifier is for us, not for the inside host.
    wan, lan = rig.exchange(WAN, from_outside(ICMP(type=8, id=first)))
    assert lan == [] and Ether(wan[0])[ICMP].type == 0
    # An answer nobody asked for, and one to another identifier.
    rig.exchange(WAN, from_outside(ICMP(type=0, id=first), src=CLIENT))
    assert rig.drops() == {"icmp_type": 1}
    # Other queries than echo are not translated (and not forwarded, forwarding being off).
    rig.exchange(LAN, from_inside(ICMP(type=13, id=9)))
    assert rig.drops() == {"icmp_type": 1, "ip_not_forwarded": 1} and rig.clean()


def test_rfc5508_req2_query_sessions_last_300_seconds_from_the_last_packet():
    rig = snat_rig()
    number = go_out(rig, "icmp", 7)
    rig.sleep(200_000, 5000)
    come_back(rig, "icmp", number, 7)
    rig.sleep(290_000, 5000)
    assert rig.connections() == 1
    rig.sleep(15_000, 5000)
    assert rig.connections() == 0 and rig.clean()


def test_udp_is_oneway_until_the_outside_answers():
    rig = snat_rig()
    rig.apply("param.set", udp_timeouts={"oneway": 30, "normal": 90})
    number = go_out(rig, "udp", 5000)
    go_out(rig, "udp", 5000)
    row = connection_row(entry_of(rig.w.table, 1), rig.now, 1)
    assert (row["state"], row["expire"]) == ("UDP_ONEWAY", 30)
    come_back(rig, "udp", number, 5000)
    row = connection_row(entry_of(rig.w.table, 1), rig.now, 1)
    assert (row["state"], row["expire"]) == ("UDP_NORM", 90)
    # As the reference lists it: outside host, our address, outside host, inside host.
    names = ("caddr", "cport", "vaddr", "vport", "laddr", "lport", "daddr", "dport")
    assert [row[name] for name in names] == [
        FAR, 443, OUTSIDE, number, FAR, 443, server(0), 5000
    ]  # fmt: skip


def test_rfc9293_a_whole_connection_and_its_port_comes_back():
    rig = snat_rig()
    stats = LaddrStats(rig.w.laddr_stats + 8 * LADDR_STATS_SIZE)
    free = stats.free
    number = go_out(rig, "tcp", 5000)
    assert (stats.used, stats.free) == (1, free - 1)
    come_back(rig, "tcp", number, 5000)
    state = connection_row(entry_of(rig.w.table, 1), rig.now, 1)["state"]
    assert state == "TCP_EST"
    for port, flags, sport, dport in ((LAN, "A", 5000, 443), (LAN, "FA", 5000, 443),
                                      (WAN, "FA", 443, number), (LAN, "A", 5000, 443)):  # fmt: skip
        l4 = TCP(sport=sport, dport=dport, flags=flags)
        rig.exchange(port, from_inside(l4) if port == LAN else from_outside(l4))
    state = connection_row(entry_of(rig.w.table, 1), rig.now, 1)["state"]
    assert state == "TIME_WAIT"
    rig.sleep(9000)
    assert rig.connections() == 0 and (stats.used, stats.free) == (0, free)
    head = Replica(Laddr(rig.w.laddrs + 8 * LADDR_SIZE).heads)
    assert head.given - head.taken == free and rig.clean()


def test_rules_choose_by_every_field_and_the_newest_wins():
    rig = Rig(static=True)
    rules = (
        {"src": (server(0), server(1))},
        {"dst": ("203.0.113.0", "203.0.113.127")},
        {"dport": (80, 90)},
        {"sport": (5000, 5009)},
        {"oif": LAN},
        {"iif": WAN},
        {"iif": None, "oif": WAN, "src": (server(3), server(3))},
    )
    seen = {}
    for index, rule in enumerate(rules):
        rig.snat(7, "tcp", **rule)
        for host, dst, sport, dport in itertools.product(
            (0, 2, 3), (FAR, "203.0.113.200"), (4999, 5009), (79, 80, 90, 91)
        ):
            frame = from_inside(TCP(sport=sport, dport=dport, flags="S"), host, dst)
            wan, _ = rig.exchange(LAN, frame)
            seen[index, host, dst, sport, dport] = bool(wan)
        rig.sleep(40_000, 5000)
        assert rig.connections() == 0
    for (index, host, dst, sport, dport), went in seen.items():
        right = (
            host < 2, dst == FAR, 80 <= dport <= 90, sport == 5009, False, False, host == 3
        )[index]  # fmt: skip
        assert went == right, (rules[index], host, dst, sport, dport)
    # Two rules for the same packets: the later one, whatever the numbers of the services.
    rig.apply("svc.del", id=7)
    rig.snat(3, "tcp", [OUTSIDE, SECOND], order=1)
    rig.snat(2, "tcp", [SECOND], order=5, dest=4)
    pools = rig.applier.pool_memory
    assert pools[8][1] == OUTSIDE and pools[9][1] == SECOND
    rig.apply("svc.set", **snat_record(2, SECOND, 9, order=5))
    wan, _ = rig.exchange(LAN, from_inside(TCP(sport=1, dport=2, flags="S")))
    assert tuple_of(wan[0]).src == SECOND
    rig.apply("svc.del", id=2)
    sources = set()
    for sport in (2, 3):
        wan, _ = rig.exchange(LAN, from_inside(TCP(sport=sport, dport=2, flags="S")))
        sources.add(tuple_of(wan[0]).src)
    assert sources == {OUTSIDE, SECOND} and rig.clean()


def snat_record(number, addr, pool, order=0, **more):
    anything = ("0.0.0.0", "255.255.255.255")
    return {
        "id": number, "af": "inet", "proto": "tcp", "addr": "0.0.0.0", "port": 0, "sched": "rr",
        "flags": [], "conn_timeout": 0, "persistent": 0, "laddrs": [],
        "match": {"src": anything, "dst": anything, "sport": (0, 65535), "dport": (0, 65535),
                  "iif": None, "oif": None, "order": order},
        "dests": [{"id": 4, "addr": addr, "port": 0, "mode": "snat", "weight": 1, "pool": pool}],
    } | more  # fmt: skip


def test_what_is_no_new_connection_of_an_inside_host():
    rig = snat_rig(("tcp",))
    for l4, drop in (
        (TCP(sport=1, dport=2, flags="A"), "not_syn"),
        (TCP(sport=1, dport=2, flags="SF"), "tcp_flags"),
        (TCP(sport=0, dport=2, flags="S"), "l4_port_zero"),
        (UDP(sport=1, dport=2), "ip_not_forwarded"),  # no rule for UDP
    ):
        before = rig.drops().get(drop, 0)
        assert rig.exchange(LAN, from_inside(l4)) == [[], []]
        assert rig.drops()[drop] == before + 1
    # Our own addresses are not outside, and their packets do not come in from inside.
    rig.exchange(LAN, from_inside(TCP(sport=1, dport=2, flags="S"), dst=WAN_ADDR))
    forged = Ether(src=server_mac(0), dst=MACS[LAN]) / IP(src=LAN_ADDR, dst=FAR)
    rig.exchange(LAN, forged / TCP(sport=1, dport=2, flags="S"))
    assert rig.drops()["no_service"] == 1 and rig.drops()["ip_loop"] == 1
    # Outside: a packet to the outside address that answers nothing.
    rig.exchange(WAN, from_outside(TCP(sport=443, dport=5000, flags="S")))
    assert rig.drops()["no_service"] == 2
    assert rig.connections() == 0 and rig.clean()


def test_limits_are_drops_with_a_name_and_leave_nothing_behind():
    rig = snat_rig(("tcp", "udp"), capacity=2)
    syn = [from_inside(TCP(sport=1 + i, dport=2, flags="S")) for i in range(3)]
    rig.exchange(LAN, *syn)
    assert rig.drops() == {"conn_full": 1} and rig.connections() == 2
    rig = snat_rig(("tcp",))
    head = Replica(Laddr(rig.w.laddrs + 8 * LADDR_SIZE).heads)
    taken, head.taken = head.taken, head.given
    rig.exchange(LAN, syn[0])
    head.taken = taken
    rig.apply("svc.set", **snat_record(0, OUTSIDE, None))
    rig.exchange(LAN, syn[0])
    rig.apply("svc.set", **snat_record(0, OUTSIDE, 8))
    rig.apply("laddr.del", id=8)
    rig.exchange(LAN, syn[0])
    rig.apply("svc.set", **snat_record(0, OUTSIDE, 8, dests=[]))
    rig.exchange(LAN, syn[0])
    assert rig.drops() == {"no_port": 1, "no_laddr": 2, "no_dest": 1}
    assert rig.connections() == 0 and rig.clean()


def test_ports_of_services_and_other_connections_on_the_outside_address_are_left_alone():
    """An address can be outside address and virtual address at once."""
    rig = snat_rig(("tcp",))
    for port in range(1025, 1031):
        rig.service(port, "dr", addr=OUTSIDE, port=port, dests=[{"id": port}])
    assert go_out(rig, "tcp", 5000) == 1031
    for port in range(1032, 1042):
        rig.service(port, "dr", addr=OUTSIDE, port=port, dests=[{"id": port}])
    rig.exchange(LAN, from_inside(TCP(sport=5001, dport=443, flags="S")))
    assert rig.drops() == {"conn_clash": 1} and rig.connections() == 1 and rig.clean()


def test_rfc1191_an_inside_host_learns_the_mtu_of_the_way_out():
    rig = snat_rig()
    rig.route("0.0.0.0/0", kind="gateway", dev=WAN, via="198.18.0.254", mtu=1000)
    frame = from_inside(UDP(sport=5, dport=6) / Raw(bytes(1200)), flags="DF")
    wan, lan = rig.exchange(LAN, frame)
    error = Ether(lan[0])
    assert wan == [] and (error[ICMP].type, error[ICMP].code) == (3, 4)
    assert (error[IP].dst, error[ICMP].nexthopmtu) == (server(0), 1000)
    assert lan[0][42:] == bytes(frame)[14 : 14 + 548] and rig.clean()
    # RFC 1812 5.3.1: the router that we are with xmit_ttl lowers the TTL.
    rig.apply("param.set", xmit_ttl=1)
    for proto in PROTOS:
        wan, _ = rig.exchange(LAN, from_inside(layer(proto, 77, 88), ttl=9))
        assert Ether(wan[0])[IP].ttl == 8
        wan, lan = rig.exchange(LAN, from_inside(layer(proto, 77, 88), ttl=1))
        assert wan == [] and Ether(lan[0])[ICMP].type == 11


@pytest.mark.parametrize("proto", ["udp", "icmp", "sctp"])
def test_rfc791_what_may_be_fragmented_is(proto):
    rig = snat_rig()
    rig.route("0.0.0.0/0", kind="gateway", dev=WAN, via="198.18.0.254", mtu=1000)
    frame = from_inside(layer(proto, 5, 6, payload=bytes(range(200)) * 6))
    wan, lan = rig.exchange(LAN, frame)
    assert lan == [] and len(wan[0]) == 14 + 996
    number = number_of(wan[0])
    ends = {"ident": number} if proto == "icmp" else {"sport": number, "dport": 6}
    assert joined(wan) == translated(frame, (MACS[WAN], ROUTER_MAC), OUTSIDE, FAR, **ends)
    assert rig.drops() == {} and rig.clean()


def test_udp_without_checksum_stays_without():
    rig = snat_rig()
    frame = from_inside(UDP(sport=5000, dport=443, chksum=0) / Raw(b"abc"))
    wan, _ = rig.exchange(LAN, frame)
    number = number_of(wan[0])
    macs = (MACS[WAN], ROUTER_MAC)
    assert wan == [oracle.rewritten(bytes(frame), macs, (OUTSIDE, number), (FAR, 443))]


def test_a_damaged_echo_does_not_become_whole():
    rig = snat_rig()
    frame = bytearray(bytes(from_inside(ICMP(type=8, id=3, seq=4) / Raw(b"data"))))
    frame[-1] ^= 1
    wan, _ = rig.exchange(LAN, bytes(frame))
    stored = Ether(wan[0])[ICMP].chksum
    again = Ether(wan[0])
    del again[ICMP].chksum
    assert Ether(bytes(again))[ICMP].chksum != stored


def test_snat_goes_on_after_its_worker_died_and_no_port_is_given_twice():
    rig = snat_rig()
    numbers = {proto: go_out(rig, proto, 5000) for proto in PROTOS}
    again = snat_rig(memory=rig.shared, table_memory=rig.table_memory, pool=rig.pool)
    assert again.worker.recovered == len(PROTOS)
    stats = LaddrStats(again.w.laddr_stats + 8 * LADDR_STATS_SIZE)
    assert stats.used == len(PROTOS)
    for proto, number in numbers.items():
        come_back(again, proto, number, 5000)
        assert go_out(again, proto, 5000) == number
    others = {go_out(again, "udp", sport) for sport in range(1, 20)}
    assert not others & set(numbers.values())
    again.sleep(1000_000, 9000)
    assert again.connections() == 0 and stats.used == 0


def test_rules_go_with_their_service_and_connections_stay():
    rig = snat_rig()
    number = go_out(rig, "udp", 5000)
    rig.apply("svc.del", id=1)
    rig.exchange(LAN, from_inside(UDP(sport=5001, dport=443)))
    assert rig.drops() == {"ip_not_forwarded": 1}
    assert go_out(rig, "udp", 5000) == number
    come_back(rig, "udp", number, 5000)
    assert go_out(rig, "icmp", 1) and rig.clean()


def test_expire_quiescent_ends_snat_connections_whose_address_is_gone():
    rig = Rig()
    rig.snat(0, "udp", flags=["expire_quiescent"])
    go_out(rig, "udp", 5000)
    rig.apply("svc.set", **snat_record(0, OUTSIDE, 8, proto="udp", dests=[]))
    rig.exchange(LAN, from_inside(UDP(sport=5000, dport=443)))
    assert rig.drops() == {"dest_gone": 1} and rig.connections() == 0 and rig.clean()


@pytest.mark.parametrize("nat", [False, True])
def test_answers_reach_the_worker_that_holds_the_connection(nat):
    """Without RSS: the port, or identifier, names the worker; the packet is handed over."""
    first = snat_rig(workers=2)
    second = snat_rig(index=1, workers=2, pool=first.pool)
    memory = connect([first, second])
    rigs = (first, second)
    for rig in rigs:
        if nat:  # packets of no connection may be answers of NAT servers: their clients own them
            rig.service(9, "nat", dests=[{"id": 30}])
    owners = set()
    for sport, proto in itertools.product(range(5000, 5006), PROTOS):
        at, dport = rigs[sport & 1], 0 if proto == "icmp" else sport - 4600
        frame = from_inside(layer(proto, sport, dport))
        at.push(LAN, frame)
        sent = [rig.run()[WAN] for rig in (at, *rigs)]
        sent = [made for made in itertools.chain(*sent) if made[12:14] == b"\x08\x00"]
        assert len(sent) == 1
        number = number_of(sent[0])
        owners.add((proto, number & 1))
        if not nat or proto == "icmp":
            assert number & 1 == at.worker.index
        if proto == "icmp":
            back = from_outside(ICMP(type=0, id=number, seq=0))
        else:
            back = from_outside(layer(proto, dport, number, "SA"))
        for wrong in rigs:  # once at the owner, once at the other worker
            wrong.push(WAN, back)
            came = [rig.run()[LAN] for rig in (wrong, *rigs)]
            assert [Ether(made)[IP].dst for made in itertools.chain(*came)] == [server(0)]
    assert owners == {(proto, k) for proto in PROTOS for k in (0, 1)} and memory
    # An answer that no worker knows ends at the owner.
    first.exchange(WAN, from_outside(ICMP(type=0, id=2001, seq=0)))
    second.exchange(WAN)
    assert second.drops().get("handover_lost") == 1


@pytest.mark.parametrize("proto,nat", [("udp", False), ("udp", True), ("sctp", False)])
def test_fragments_and_errors_of_inside_hosts_reach_the_worker_that_opened(proto, nat):
    """RSS knows only their addresses: they arrive anywhere."""
    rigs = [snat_rig(workers=3)]
    rigs += [snat_rig(index=n, workers=3, pool=rigs[0].pool) for n in (1, 2)]
    kept = connect(rigs)
    for rig in rigs:
        if nat:
            rig.service(9, "nat", dests=[{"id": 30}])

    def go_round():
        sent = [rig.run() for rig in rigs * 3]
        return [[frame for out in sent for frame in out[port]] for port in (WAN, LAN)]

    rigs[1].push(LAN, from_inside(layer(proto, 1000, 443)))
    ((out,), _) = go_round()
    number = number_of(out)
    frame = from_inside(layer(proto, 1000, 443, payload=bytes(range(200))))
    wanted = translated(frame, (MACS[WAN], ROUTER_MAC), OUTSIDE, FAR, number, 443)
    for arrives in rigs:
        arrives.push(LAN, *cut(frame, [8, 16]))
        wan, lan = go_round()
        assert lan == [] and joined(wan) == wanted
        quoted = IP(src=FAR, dst=server(0)) / layer(proto, 443, 1000)
        arrives.push(LAN, from_inside(ICMP(type=3, code=1) / Raw(bytes(quoted))))
        quoted = IP(src=FAR, dst=OUTSIDE) / layer(proto, 443, number)
        error = IP(src=OUTSIDE, dst=FAR) / ICMP(type=3, code=1) / Raw(bytes(quoted))
        assert go_round() == [[bytes(Ether(src=MACS[WAN], dst=ROUTER_MAC) / error)], []]
    assert [rig.drops() for rig in rigs] == [{}] * 3 and kept
    assert sum(rig.connections() for rig in rigs) == 1


@pytest.mark.parametrize("proto", PROTOS)
def test_rfc5508_req4_errors_from_outside_reach_the_inside_host(proto):
    """The quotation is what the inside host sent; the router's address stays, for traceroute."""
    rig = snat_rig()
    frame = from_inside(layer(proto, 5000, 443, payload=b"some data"), ttl=3)
    (sent,), _ = rig.exchange(LAN, frame)
    for router, kind in (("203.0.113.200", 11), (FAR, 3)):
        quoted = Raw(sent[14:])
        wan, lan = rig.exchange(WAN, from_outside(ICMP(type=kind, code=1) / quoted, src=router))
        error = IP(src=router, dst=server(0)) / ICMP(type=kind, code=1) / Raw(bytes(frame)[14:])
        wanted = Ether(src=MACS[LAN], dst=server_mac(0)) / error
        assert (wan, lan) == ([], [bytes(wanted)])
    # From inside: no inside address gets out, in neither header (REQ-5).
    number = number_of(sent)
    back = layer(proto, 443, number, "SA", b"answer")
    if proto == "icmp":
        back = ICMP(type=0, id=number) / Raw(b"answer")
    answer = from_outside(back)
    _, (came,) = rig.exchange(WAN, answer)
    refusal = from_inside(ICMP(type=3, code=3) / Raw(came[14:]))
    wan, lan = rig.exchange(LAN, refusal)
    error = IP(src=OUTSIDE, dst=FAR) / ICMP(type=3, code=3) / Raw(bytes(answer)[14:])
    assert (wan, lan) == ([bytes(Ether(src=MACS[WAN], dst=ROUTER_MAC) / error)], [])
    # About an identifier or port that is nobody's.
    forged = IP(src=OUTSIDE, dst=FAR) / layer(proto, number + 1, 443)
    rig.exchange(WAN, from_outside(ICMP(type=3, code=3) / Raw(bytes(forged))))
    assert rig.drops() == {"icmp_unrelated": 1} and rig.clean()


def test_an_echo_is_listed_as_the_reference_does():
    rig = snat_rig(("icmp",))
    number = go_out(rig, "icmp", 7)
    row = connection_row(entry_of(rig.w.table, 1), rig.now, 1)
    assert (row["proto"], row["state"], row["expire"]) == ("icmp", "ICMP_NORMAL", 300)
    assert (row["caddr"], row["vport"], row["daddr"], row["dport"]) == (FAR, number, server(0), 7)
