"""UOA and PROXY version 2 in UDP: which packets carry the client's address, and where."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import IP, UDP, IPOption
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.entry import SPECIAL, Entry
from ipvs.table import entry_of
from tests.fragments import joined
from tests.ipvs.test_proxy_header import binary
from tests.pathrig import CLIENT, LADDR, LAN, MACS, VIP, WAN, Rig, from_client, server, server_mac

SPORT, PORT, RPORT = 1234, 53, 8000
OPTION = b"\x1f\x08" + struct.pack(">H", SPORT) + IPv4Address(CLIENT).packed
HEADER = b"\x10\x11\x00\x0c" + OPTION
ROUTE = b"\x07\x07\x04\x00\x00\x00\x00\x00"


def udp_rig(packets=3, in_ip=0, **more):
    rig = Rig(static=True)
    rig.service(0, proto="udp", port=PORT, **more)
    rig.w.uoa_packets, rig.w.uoa_in_ip = packets, in_ip
    return rig


def query(payload=b"query", options=b"", **fields):
    made = from_client(
        UDP(sport=SPORT, dport=PORT, **fields) / Raw(payload),
        options=[IPOption(options)] if options else [],
    )
    return bytes(made)


def to_server(rig, frame):
    wan, lan = rig.exchange(WAN, frame)
    assert wan == []
    return lan


def expected(sent, lport, payload=b"query", carrier=None, options=b"", **fields):
    """The frame a server gets, built anew by scapy."""
    udp = UDP(sport=lport, dport=RPORT, **fields) / Raw(payload)
    ip = IP(src=LADDR, dst=server(0))
    if carrier == "ip":
        options = OPTION + options
    if carrier == "opp":
        udp = Raw(HEADER) / UDP(sport=lport, dport=RPORT, len=8 + len(payload), chksum=0) / payload
        ip.proto = 248
    if options:
        ip.options = [IPOption(options)]
    assert sent[12:14] == b"\x08\x00"
    return bytes(Ether(src=MACS[LAN], dst=server_mac(0)) / ip / udp)


def local_port(frame, carrier):
    at = 34 + {"opp": 12, "ip": 8, None: 0}[carrier]
    return struct.unpack_from(">H", frame, at)[0]


@pytest.mark.parametrize("carrier", ["opp", "ip"])
@pytest.mark.parametrize("payload", [b"", b"odd", b"even"])
def test_first_packets_are_exact_and_the_rest_plain(carrier, payload):
    rig = udp_rig(in_ip=int(carrier == "ip"))
    sent = [to_server(rig, query(payload))[0] for _ in range(5)]
    lport = local_port(sent[0], carrier)
    for number, frame in enumerate(sent):
        assert frame == expected(frame, lport, payload, carrier if number < 3 else None)
    assert Entry(entry_of(rig.w.table, 1)).flags & SPECIAL == 0
    assert rig.drops() == {} and rig.clean()


def test_answers_are_plain_and_end_nothing():
    rig = udp_rig()
    (first,) = to_server(rig, query())
    lport = local_port(first, "opp")
    answer = Ether(src=server_mac(0), dst=MACS[LAN]) / IP(src=server(0), dst=LADDR)
    wan, _ = rig.exchange(LAN, bytes(answer / UDP(sport=RPORT, dport=lport) / b"answer"))
    got = Ether(wan[0])
    assert (got[IP].src, got[IP].dst, got[UDP].dport) == (VIP, CLIENT, SPORT)
    assert bytes(got[UDP].payload) == b"answer" and got[IP].proto == 17
    (second,) = to_server(rig, query())
    assert second == expected(second, lport, carrier="opp")


def test_as_many_packets_as_the_configuration_says():
    """More than a byte counts, too."""
    rig = udp_rig(packets=300)
    carried = [to_server(rig, query())[0][23] == 248 for _ in range(310)]
    assert carried == [True] * 300 + [False] * 10
    assert rig.clean()


def test_none_by_default():
    rig = udp_rig(packets=0)
    (frame,) = to_server(rig, query())
    assert frame == expected(frame, local_port(frame, None))


@pytest.mark.parametrize("carrier", ["opp", "ip"])
def test_ip_options_stay(carrier):
    """The IP option goes in front of the others, the header of protocol 248 behind all."""
    rig = udp_rig(in_ip=int(carrier == "ip"))
    (frame,) = to_server(rig, query(options=ROUTE))
    l3 = frame[14:]
    size = (l3[0] & 15) * 4
    assert IP(l3[:size]).chksum == IP(bytes(IP(l3[:size]).copy())).chksum
    assert sum_of(l3[:size]) == 0xFFFF
    if carrier == "ip":
        assert l3[20:size] == OPTION + ROUTE and l3[9] == 17
    else:
        assert l3[20:size] == ROUTE and l3[size : size + 12] == HEADER and l3[9] == 248


def sum_of(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("carrier", ["opp", "ip"])
def test_full_mtu_sends_an_empty_packet_ahead(carrier):
    rig = udp_rig(packets=1, in_ip=int(carrier == "ip"))
    ahead, whole = to_server(rig, query(bytes(1472)))
    lport = local_port(ahead, carrier)
    assert ahead == expected(ahead, lport, b"", carrier)
    assert whole == expected(whole, lport, bytes(1472))
    assert rig.drops() == {} and rig.clean()


@pytest.mark.parametrize("carrier", ["opp", "ip"])
def test_rfc791_a_packet_beyond_the_mtu_is_fragmented_behind_one_ahead(carrier):
    rig = udp_rig(packets=1, in_ip=int(carrier == "ip"))
    rig.apply("dev.set", id=LAN, mac=MACS[LAN], mtu=1000)
    ahead, *parts = to_server(rig, query(bytes(1400)))
    lport = local_port(ahead, carrier)
    assert ahead == expected(ahead, lport, b"", carrier)
    assert len(parts) == 2 and joined(parts) == expected(parts[0], lport, bytes(1400))
    assert rig.drops() == {} and rig.clean()


def test_full_ip_options_send_an_empty_packet_ahead():
    rig = udp_rig(packets=1, in_ip=1)
    ahead, whole = to_server(rig, query(options=b"\x01" * 36))
    lport = local_port(ahead, "ip")
    assert ahead == expected(ahead, lport, b"", "ip")
    assert whole[34:70] == b"\x01" * 36


def test_no_buffer_for_the_packet_ahead():
    rig = udp_rig(packets=1)
    held = [rig.pool.take() for _ in range(len(rig.pool.free) - 1)]
    (frame,) = to_server(rig, query(bytes(1472)))
    assert frame == expected(frame, local_port(frame, None), bytes(1472))
    assert rig.drops() == {"uoa_room": 1}
    rig.pool.free.extend(held)


ENDS = (IPv4Address(CLIENT).packed, IPv4Address(VIP).packed, SPORT, PORT)
OTHERS = binary(IPv4Address("203.0.113.9").packed, IPv4Address("192.0.2.1").packed, 7, 443, 2)


@pytest.mark.parametrize("unchecked", [False, True])
@pytest.mark.parametrize(
    ("kind", "sent", "front"),
    [
        ("v2", b"", binary(*ENDS, 2)), ("v2", OTHERS, binary(*ENDS, 2)),
        ("v2-insecure", b"", binary(*ENDS, 2)), ("v2-insecure", OTHERS, OTHERS),
    ],
)  # fmt: skip
def test_proxy_v2_in_the_first_packet(kind, sent, front, unchecked):
    fields = {"chksum": 0} if unchecked else {}
    rig = udp_rig(proxy_protocol=kind)
    (first,) = to_server(rig, query(sent + b"query", **fields))
    lport = local_port(first, None)
    assert first == expected(first, lport, front + b"query", **fields)
    (second,) = to_server(rig, query(**fields))
    assert second == expected(second, lport, **fields)


def test_proxy_v2_ahead_of_a_full_packet():
    rig = udp_rig(proxy_protocol="v2")
    ahead, whole = to_server(rig, query(bytes(1472)))
    lport = local_port(ahead, None)
    assert ahead == expected(ahead, lport, binary(*ENDS, 2))
    assert whole == expected(whole, lport, bytes(1472))


def test_a_datagram_that_could_not_be_sent_decides_nothing():
    """Without a buffer for the packet ahead it is dropped; the next one is looked at anew."""
    rig = udp_rig(proxy_protocol="v2-insecure")
    held = [rig.pool.take() for _ in range(len(rig.pool.free) - 1)]
    assert to_server(rig, query(bytes(1472))) == [] and rig.drops() == {"no_mbuf": 1}
    rig.pool.free.extend(held)
    (frame,) = to_server(rig, query(OTHERS + b"query"))
    assert frame == expected(frame, local_port(frame, None), OTHERS + b"query")
