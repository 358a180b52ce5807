"""SNAT: what inside hosts send leaves with an address and port of ours, answers find them again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.laddr import LADDR_SIZE, LADDR_STATS_SIZE, Laddr, LaddrStats, Replica
from ipvs.table import entry_of
from tests import oracle
from tests.fragments import joined
from tests.pathrig import CLIENT, FAR, LAN, MACS, OUTSIDE, ROUTER_MAC, WAN, server
from tests.snat_rig import (
    PROTOS,
    come_back,
    from_inside,
    from_outside,
    go_out,
    layer,
    number_of,
    snat_rig,
    translated,
)
from tools.daemon.listing import connection_row

OPTIONS = b"\x07\x07\x04\x00\x00\x00\x00\x00"  # record route


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
