"""What RFC 4787 (UDP), RFC 5382 (TCP) and RFC 5508 (ICMP) ask of a NAT, by requirement: SNAT.

Where SNAT differs, as the reference does, docs/rfcs.md says why, and a test here shows how.
"""

from __future__ import annotations

import itertools

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.conhash_ring import Server, conhash_ring
from tests import fragments
from tests.pathrig import CLIENT, FAR, LAN, LAN_ADDR, OUTSIDE, WAN, Rig, server
from tests.snat_rig import (
    PROTOS,
    SECOND,
    come_back,
    from_inside,
    from_outside,
    go_out,
    layer,
    number_of,
    snat_record,
    snat_rig,
)
from tests.wire import tuple_of

HOUR = 3_600_000


def test_rfc4787_req1_rfc5382_req1_mappings_are_by_connection():
    """Endpoint-dependent, as the reference: another outside endpoint sees another port."""
    rig = snat_rig()
    for proto in ("tcp", "udp"):
        ports = [go_out(rig, proto, 5000, dst, 443) for dst in (FAR, CLIENT)]
        ports.append(go_out(rig, proto, 5000, FAR, 444))
        assert len(set(ports)) == 3
        assert go_out(rig, proto, 5000, FAR, 443) == ports[0]
    assert rig.connections() == 6 and rig.clean()


def test_rfc4787_req2_one_inside_host_one_outside_address():
    """Paired pooling with conhash, which goes by the source; with rr hosts change addresses."""
    addresses = (OUTSIDE, SECOND)
    ring = conhash_ring([Server(i, addr, 0, 1) for i, addr in enumerate(addresses)])
    dests = [
        {"id": i, "addr": addr, "port": 0, "mode": "snat", "weight": 1, "pool": 8 + i}
        for i, addr in enumerate(addresses)
    ]
    used = {}
    for sched, more in (("conhash", {"table": ring}), ("rr", {})):
        rig = Rig(static=True)
        rig.snat(0, "udp", addresses)
        body = snat_record(0, OUTSIDE, 8, proto="udp", sched=sched, dests=dests, **more)
        rig.apply("svc.set", **body)
        seen = {host: set() for host in range(3)}
        for sport, host in itertools.product(range(5000, 5008), seen):
            dst = FAR if (sport ^ host) & 1 else CLIENT
            wan, _ = rig.exchange(LAN, from_inside(UDP(sport=sport, dport=53), host, dst))
            seen[host].add(tuple_of(wan[0]).src)
        used[sched] = [len(found) for found in seen.values()]
        assert rig.clean()
    assert used["conhash"] == [1] * 3 and max(used["rr"]) == 2


@pytest.mark.parametrize("proto", PROTOS)
def test_rfc4787_req3_rfc5382_req7_no_two_mappings_share_a_port_towards_one_endpoint(proto):
    rig = snat_rig(capacity=4096)
    seen = set()
    for sport, host in itertools.product(range(1, 40), range(4)):
        frame = from_inside(layer(proto, sport, 0 if proto == "icmp" else 443), host)
        wan, _ = rig.exchange(LAN, frame)
        seen.add(number_of(wan[0]))
    assert len(seen) == 39 * 4 and min(seen) > 1024 and rig.clean()


def test_rfc4787_req5_a_mapping_lives_for_300_seconds():
    """At least 2 minutes, 5 recommended; in both states of a UDP connection."""
    for answered in (False, True):
        rig = snat_rig()
        number = go_out(rig, "udp", 5000)
        if answered:
            come_back(rig, "udp", number, 5000)
        rig.sleep(299_000, 1000)
        assert rig.connections() == 1
        assert go_out(rig, "udp", 5000) == number
        rig.sleep(302_000, 1000)
        assert rig.connections() == 0 and rig.clean()


@pytest.mark.parametrize("outbound", [True, False])
def test_rfc4787_req6_packets_of_both_directions_refresh_a_mapping(outbound):
    rig = snat_rig()
    number = go_out(rig, "udp", 5000)
    come_back(rig, "udp", number, 5000)
    for _ in range(4):
        rig.sleep(200_000, 5000)
        if outbound:
            assert go_out(rig, "udp", 5000) == number
        else:
            come_back(rig, "udp", number, 5000)
    assert rig.connections() == 1 and rig.clean()


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_rfc4787_req8_rfc5382_req3_only_the_endpoint_asked_may_answer(proto):
    """Address and port-dependent filtering."""
    rig = snat_rig()
    number = go_out(rig, proto, 5000)
    for src, dport in ((CLIENT, 443), (FAR, 444), ("203.0.113.10", 443)):
        stranger = from_outside(layer(proto, dport, number, "SA"), src)
        assert rig.exchange(WAN, stranger) == [[], []]
    assert rig.drops() == {"no_service": 3}
    come_back(rig, proto, number, 5000)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_rfc4787_req9_rfc5382_req8_no_hairpin_to_an_outside_address(proto):
    """What an inside host sends to an outside port of another host's: filtered like REQ-8."""
    rig = snat_rig()
    number = go_out(rig, proto, 5000, host=0)
    frame = from_inside(layer(proto, 6000, number), 1, OUTSIDE)
    assert rig.exchange(LAN, frame) == [[], []]
    assert rig.drops() == {"no_service": 1} and rig.connections() == 1 and rig.clean()


@pytest.mark.parametrize("itself", [True, False])
def test_rfc4787_req9_rfc5382_req8_a_real_server_may_be_a_client_of_the_service(itself):
    """Hairpin through a virtual address, also to itself: the server sees the local address."""
    rig = Rig(static=True)
    rig.service(0, "fullnat", "udp", dests=[{"addr": server(0)}])
    asker = 0 if itself else 1
    frame = from_inside(UDP(sport=5000, dport=80) / Raw(b"ask"), asker, "192.0.2.100")
    wan, (sent,) = rig.exchange(LAN, frame)
    asked = Ether(sent)
    assert wan == [] and (asked[IP].src, asked[IP].dst) == ("198.19.0.200", server(0))
    back = UDP(sport=8000, dport=asked[UDP].sport) / Raw(b"tell")
    wan, (sent,) = rig.exchange(LAN, from_inside(back, 0, "198.19.0.200"))
    told = Ether(sent)
    assert wan == [] and (told[IP].src, told[IP].dst) == ("192.0.2.100", server(asker))
    assert (told[UDP].sport, told[UDP].dport, told[Raw].load) == (80, 5000, b"tell")
    assert rig.clean()


def test_rfc4787_req10_rfc5382_req6_no_payload_is_looked_into():
    """There are no application level gateways: addresses in FTP's and SIP's words stay."""
    rig = snat_rig()
    inside = server(0)
    words = f"PORT {inside.replace('.', ',')},19,136\r\nVia: SIP/2.0/UDP {inside}:5060\r\n".encode()
    for dport in (21, 5060):
        for proto in ("tcp", "udp"):
            number = go_out(rig, proto, 5000, dport=dport, payload=words)
            come_back(rig, proto, number, 5000, dport=dport, payload=words)


def test_rfc4787_req11_the_same_whatever_else_is_open():
    """Deterministic: contention for ports changes nothing in how mappings behave."""
    rig = snat_rig(("udp",), capacity=4096)
    for sport in range(150):
        rig.exchange(LAN, from_inside(UDP(sport=1 + sport, dport=443)))
    number = go_out(rig, "udp", 5000, host=1)
    for stranger in ((CLIENT, 443), (FAR, 444)):
        l4 = UDP(sport=stranger[1], dport=number)
        assert rig.exchange(WAN, from_outside(l4, stranger[0])) == [[], []]
    come_back(rig, "udp", number, 5000, host=1)
    assert go_out(rig, "udp", 5000, host=1) == number and rig.clean()


def errors_about(sent):
    """ICMP errors of a router and of the far host about a packet that left."""
    for src, kind, code in (("203.0.113.1", 3, 1), (FAR, 3, 3), (FAR, 3, 13), (FAR, 11, 0)):
        yield from_outside(ICMP(type=kind, code=code) / Raw(sent[14:]), src)


@pytest.mark.parametrize("proto", PROTOS)
def test_rfc4787_req12_rfc5382_req10_rfc5508_req6_errors_neither_end_nor_refresh(proto):
    rig = snat_rig()
    frame = from_inside(layer(proto, 5000, 443))
    (sent,), _ = rig.exchange(LAN, frame)
    life = {"tcp": 90_000, "sctp": 900_000}.get(proto, 300_000)
    if proto == "tcp":
        number = number_of(sent)
        come_back(rig, proto, number, 5000)
    rig.sleep(life - 2000, 1000)
    for error in errors_about(sent):
        _, lan = rig.exchange(WAN, error)
        assert len(lan) == 1
    assert rig.connections() == 1
    rig.sleep(5000, 1000)
    assert rig.connections() == 0 and rig.clean()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_rfc4787_req14_fragments_in_any_order_both_ways(order):
    rig = snat_rig()
    data = bytes(range(256)) * 4
    frame = from_inside(layer("udp", 5000, 443) / Raw(data), id=77)
    wan, lan = rig.exchange(LAN, *[fragments.cut(frame, (50, 100))[i] for i in order])
    assert lan == [] and len(wan) == 3, rig.drops()
    whole = Ether(fragments.joined(wan))
    number = number_of(bytes(whole))
    assert whole[IP].src == OUTSIDE and bytes(whole).endswith(data)
    again = whole.copy()
    del again[IP].chksum
    del again[UDP].chksum
    assert bytes(again) == bytes(whole)
    answer = from_outside(layer("udp", 443, number) / Raw(data), id=78)
    wan, lan = rig.exchange(WAN, *[fragments.cut(answer, (50, 100))[i] for i in order])
    assert wan == [] and len(lan) == 3
    told = Ether(fragments.joined(lan))
    assert told[IP].dst == server(0) and bytes(told).endswith(data) and rig.clean()


def tcp(rig, port, flags, number):
    """A segment between port 5000 inside and port 443 outside; what came out elsewhere."""
    if port == LAN:
        frame = from_inside(TCP(sport=5000, dport=443, flags=flags))
    else:
        frame = from_outside(TCP(sport=443, dport=number, flags=flags))
    out = rig.exchange(port, frame)
    assert out[port] == [] and len(out[1 - port]) == 1, rig.drops()
    return Ether(out[1 - port][0])[TCP]


SEQUENCES = {
    "three-way handshake": ((LAN, "S"), (WAN, "SA"), (LAN, "A")),
    "simultaneous open": ((LAN, "S"), (WAN, "S"), (LAN, "SA"), (WAN, "SA"), (LAN, "A")),
    "simultaneous, SYN lost": ((LAN, "S"), (LAN, "S"), (WAN, "S"), (WAN, "SA"), (LAN, "A")),
    "half close": ((LAN, "S"), (WAN, "SA"), (LAN, "A"), (LAN, "FA"), (WAN, "A"), (WAN, "PA")),
    "data with SYN": ((LAN, "S"), (WAN, "SA"), (WAN, "PA"), (LAN, "PA")),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_rfc5382_req2_every_valid_sequence_passes(name):
    rig = snat_rig()
    number = go_out(rig, "tcp", 5000)
    for port, flags in SEQUENCES[name][1:]:
        segment = tcp(rig, port, flags, number)
        assert (segment.sport, segment.dport) in ((number, 443), (443, 5000))
    assert rig.connections() == 1 and rig.drops() == {} and rig.clean()


def test_rfc5382_req4_an_unsolicited_syn_gets_no_answer():
    """Neither at once nor after 6 seconds: an answer would end a simultaneous open."""
    rig = snat_rig()
    unsolicited = from_outside(TCP(sport=443, dport=2000, flags="S"))
    assert rig.exchange(WAN, unsolicited) == [[], []]
    assert rig.sleep(7000) == [[], []]
    assert rig.drops() == {"no_service": 1} and rig.connections() == 0 and rig.clean()


def test_rfc5382_req5_a_connection_lives_2_hours_4_minutes_where_it_is_told_to():
    """The reference's 90 s are the default; `--set` or `timeout` make it what the RFC asks."""
    rig = snat_rig()
    rig.apply("param.set", tcp_timeouts={"established": 7440, "syn_recv": 240, "syn_sent": 240})
    half = go_out(rig, "tcp", 6000)
    number = go_out(rig, "tcp", 5000)
    come_back(rig, "tcp", number, 5000)
    rig.sleep(239_000, 1000)
    assert rig.connections() == 2
    come_back(rig, "tcp", half, 6000)
    tcp(rig, LAN, "A", number)
    rig.sleep(7_438_000, 10_000)
    assert rig.connections() == 2
    assert go_out(rig, "tcp", 5000) == number
    rig.sleep(20_000, 5000)
    assert rig.connections() == 1 and rig.clean()


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_rfc5382_req9_the_outside_says_unreachable(proto):
    """Type, code and quotation reach the inside host, for every code."""
    rig = snat_rig()
    frame = from_inside(layer(proto, 5000, 443) / Raw(b"data"))
    (sent,), _ = rig.exchange(LAN, frame)
    for code in range(16):
        error = from_outside(ICMP(type=3, code=code) / Raw(sent[14:]), FAR)
        _, (told,) = rig.exchange(WAN, error)
        message = bytes(Ether(told)[IP].payload)
        assert message[:2] == bytes([3, code]) and message[8:] == bytes(frame)[14:]
        assert Ether(told)[IP].dst == server(0)


def test_rfc5508_req1_queries_other_than_echo_are_not_translated():
    """Timestamp, information and mask requests, both ways: no session, no answer."""
    rig = snat_rig()
    for kind in (13, 15, 17, 37):
        assert rig.exchange(LAN, from_inside(ICMP(type=kind, id=9) / Raw(bytes(12)))) == [[], []]
    assert rig.connections() == 0 and rig.clean()


def test_rfc5508_req1_one_mapping_for_every_sequence_number():
    rig = snat_rig()
    numbers = {go_out(rig, "icmp", 7, dport=seq) for seq in (0, 1, 2, 65535)}
    assert len(numbers) == 1 and rig.connections() == 1


def test_rfc5508_req3_a_damaged_error_is_dropped_damage_of_the_quoted_data_is_not():
    """(a) the ICMP checksum counts; (c) the transport checksum of the quotation does not."""
    rig = snat_rig()
    frame = bytearray(bytes(from_inside(UDP(sport=5000, dport=443) / Raw(b"some data"))))
    frame[-1] ^= 1
    (sent,), _ = rig.exchange(LAN, bytes(frame))
    error = bytes(from_outside(ICMP(type=3, code=1) / Raw(sent[14:])))
    damaged = error[:-1] + bytes([error[-1] ^ 1])
    assert rig.exchange(WAN, damaged) == [[], []]
    assert rig.drops() == {"icmp_checksum": 1}
    _, (told,) = rig.exchange(WAN, error)
    assert told[42:] == bytes(frame)[14:]


def test_rfc5508_req3_options_of_the_quoted_packet_are_stepped_over():
    rig = snat_rig()
    frame = from_inside(UDP(sport=5000, dport=443), options=[b"\x07\x07\x04\0\0\0\0\0"])
    (sent,), _ = rig.exchange(LAN, frame)
    _, (told,) = rig.exchange(WAN, from_outside(ICMP(type=3, code=1) / Raw(sent[14:])))
    assert told[42:] == bytes(frame)[14:]


def test_rfc5508_req8_a_full_table_is_a_drop_with_a_name():
    """As the reference: no code 13 is sent, the counter tells the operator."""
    rig = snat_rig(("icmp",), capacity=2)
    for ident in range(3):
        rig.exchange(LAN, from_inside(ICMP(type=8, id=ident)))
    assert rig.drops() == {"conn_full": 1} and rig.clean()


def test_rfc5508_req10_redirects_are_for_the_host_on_the_link():
    rig = snat_rig()
    (sent,), _ = rig.exchange(LAN, from_inside(UDP(sport=5000, dport=443)))
    redirect = from_outside(ICMP(type=5, code=1, gw="198.18.0.3") / Raw(sent[14:]))
    assert rig.exchange(WAN, redirect) == [[], []] and rig.drops() == {"icmp_type": 1}


def test_rfc3022_4_1_the_checksum_of_an_echo_is_right_for_every_identifier():
    """No pseudo header in it: a sum over the message alone."""
    rig = snat_rig()
    for ident in (0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF):
        number = go_out(rig, "icmp", ident, payload=b"odd")
        come_back(rig, "icmp", number, ident, payload=b"odd")


def test_rfc3022_4_3_no_inside_address_leaves_in_an_error():
    """Neither as its sender nor in its quotation, whoever of the inside sends it."""
    rig = snat_rig()
    number = go_out(rig, "udp", 5000)
    _, (came,) = rig.exchange(WAN, from_outside(UDP(sport=443, dport=number)))
    for host in range(4):
        error = from_inside(ICMP(type=3, code=3) / Raw(came[14:]), host)
        (sent,), _ = rig.exchange(LAN, error)
        for inside in (*map(server, range(4)), LAN_ADDR):
            assert bytes(map(int, inside.split("."))) not in sent
