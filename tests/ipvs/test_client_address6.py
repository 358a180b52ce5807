"""The address of IPv6 clients behind FullNAT and NAT64: TOA, UOA, PROXY protocol; exact bytes."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.entry import SPECIAL, Entry
from ipvs.table import entry_of
from tests import fragments, oracle
from tests.audit import audit
from tests.fragments6 import cut6, joined6
from tests.ipvs.test_proxy_header import binary, line
from tests.stream_rig import ACK, MASK, PSH, RST, SYN
from tests.stream_rig6 import (
    DPORT,
    KINDS,
    RPORT,
    SPORT,
    Talk6,
    frame_of,
    option,
    six_rig,
    take_apart,
)
from tests.topology6 import CLIENT6, FROM_CLIENT, VIP6, frame6, from_server, to_server

OPTION = option()
STAMP = b"\x01\x01\x08\x0a" + bytes(range(8))
ENDS = (IPv6Address(CLIENT6).packed, IPv6Address(VIP6).packed, SPORT, DPORT)
OWN = {"v1": line(*ENDS), "v2": binary(*ENDS)}
OTHERS = (IPv6Address("2001:db8:9::9").packed, IPv6Address("2001:db8:8::8").packed, 7, 443)
THEIRS = {"v1": line(*OTHERS), "v2": binary(*OTHERS)}
FULL = {"fullnat": 1500, "nat64": 1520}  # bytes of an IPv6 packet that just fits the server's link


def special(rig):
    return Entry(entry_of(rig.w.table, 3)).flags & SPECIAL


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


# TOA


def test_toa_until_the_server_has_its_socket(kind):
    """20 bytes, directly behind the fixed header, in all that may end the handshake."""
    talk = Talk6(six_rig(kind, toa=1), kind)
    syn, answer = talk.open()
    assert syn.options == b"" and answer.options == struct.pack(">BBH", 2, 4, 1460 - 20)
    for _ in range(2):
        _, (out,) = talk.rig.at_once(0, talk.client_frame(ACK, 1001, 500_001, b"", STAMP))
        assert out == talk.arrives(out, 1001, 500_001, ACK, b"", OPTION + STAMP)
    _, (out,) = talk.rig.at_once(0, talk.client_frame(ACK | PSH, 1001, 500_001, b"data"))
    assert out == talk.arrives(out, 1001, 500_001, ACK | PSH, b"data", OPTION)
    (got,) = talk.down(ACK | PSH, 500_001, 1005, b"answer")
    assert got.raw == talk.returns(500_001, 1005, ACK | PSH, b"answer")
    (got,) = talk.up(ACK, 1005, 500_007)
    assert got.options == b""
    assert talk.rig.drops() == {} and audit(talk.rig.address) == []
    # NAT64 itself is special; IPv6 throughout is on the fast path from here on.
    assert bool(special(talk.rig)) == (kind == "nat64")


def test_options_of_the_kind_that_clients_send_are_blanked(kind):
    talk = Talk6(six_rig(kind, toa=1), kind)
    forged = option("2001:db8:bad::1", 9)
    syn, _ = talk.open(syn_options=forged)
    assert syn.options == b"\x01" * 20
    (got,) = talk.up(ACK, 1001, 500_001, options=forged)
    assert got.options == OPTION + b"\x01" * 20


@pytest.mark.long
@settings(max_examples=20)
@given(size=st.integers(0, 3), words=st.integers(0, 10), data=st.data())
def test_any_options_leave_one_true_toa_and_whole_data(size, words, data):
    kind = data.draw(st.sampled_from(KINDS))
    talk = Talk6(six_rig(kind, toa=1), kind)
    talk.open()
    options = b"\x01\x01\x01\x01" * words
    payload = bytes(range(size))
    (got,) = talk.up(ACK | PSH, 1001, 500_001, payload, options)
    assert got.options[:20] == OPTION and set(got.options[20:]) <= {1}
    assert got.payload == payload


def test_no_room_for_toa_in_a_full_segment(kind):
    """It is sent on without; an IPv4 header leaves room for just one such option."""
    talk = Talk6(six_rig(kind, toa=1), kind)
    talk.open()
    room = FULL[kind] - 60
    for size, told in ((room - 20, OPTION), (room - 19, b"")):
        (got,) = talk.up(ACK, 1001, 500_001, bytes(size))
        assert got.options == told and got.payload == bytes(size)
    assert talk.rig.drops() == {"toa_room": 1}


def test_toa_does_not_go_into_fragments(kind):
    """The places of the others are told already."""
    talk = Talk6(six_rig(kind, toa=1, new_isn=1), kind)
    syn, _ = talk.open()
    frame = talk.client_frame(ACK | PSH, 1001, 500_001, bytes(range(200)))
    _, lan = talk.rig.at_once(0, *cut6(frame, [8, 16], 5))
    whole = (fragments.joined if kind == "nat64" else joined6)(lan)
    got = take_apart(whole)
    assert got.payload == bytes(range(200)) and got.options == b""
    assert got.seq == (syn.seq + 1) & MASK and talk.rig.drops() == {"toa_room": 1}


# Sequence numbers


def test_initial_numbers_are_new_and_acknowledgements_and_sack_turned_back(kind):
    talk = Talk6(six_rig(kind, toa=1, new_isn=1), kind)
    syn, answer = talk.open(syn_options=STAMP)
    assert syn.seq != talk.isn and syn.options == b"\x01" * 12, "timestamps are blanked"
    assert answer.ack == talk.isn + 1
    delta = (syn.seq - talk.isn) & MASK
    _, (out,) = talk.rig.at_once(0, talk.client_frame(ACK | PSH, 1001, 500_001, b"abc"))
    assert out == talk.arrives(out, 1001 + delta, 500_001, ACK | PSH, b"abc", OPTION)
    block = struct.pack(">II", (1001 + delta) & MASK, (1003 + delta) & MASK)
    (got,) = talk.down(ACK, 500_001, 1001 + delta, options=b"\x01\x01\x05\x0a" + block)
    assert got.ack == 1001 and struct.unpack(">II", got.options[4:]) == (1001, 1003)
    (got,) = talk.up(RST, 1004)
    assert got.seq == (1004 + delta) & MASK and got.options == b""


# PROXY protocol in TCP


def proxied(kind, proxy, new_isn=0):
    talk = Talk6(six_rig(kind, new_isn=new_isn, proxy_protocol=proxy), kind)
    syn, _ = talk.open()
    talk.delta = (syn.seq - talk.isn) & MASK
    (got,) = talk.up(ACK, 1001, 500_001)
    assert (got.payload, got.options, got.seq) == (b"", b"", (1001 + talk.delta) & MASK)
    return talk


@pytest.mark.parametrize("proxy", ["v1", "v2", "v1-insecure", "v2-insecure"])
def test_proxy_header_in_the_first_segment(kind, proxy):
    talk = proxied(kind, proxy)
    frame = talk.client_frame(ACK | PSH, 1001, 500_001, b"GET / HTTP/1.0\r\n\r\n", STAMP)
    for _ in range(2):  # a retransmission is the same again
        _, (out,) = talk.rig.at_once(0, frame)
        data = OWN[proxy[:2]] + b"GET / HTTP/1.0\r\n\r\n"
        assert out == talk.arrives(out, 1001, 500_001, ACK | PSH, data, STAMP)
    assert talk.rig.drops() == {} and audit(talk.rig.address) == []


@pytest.mark.parametrize("sent", ["v1", "v2"])
@pytest.mark.parametrize("proxy", ["v1", "v2"])
def test_what_clients_send_themselves_is_replaced(kind, proxy, sent):
    talk = proxied(kind, proxy)
    (got,) = talk.up(ACK | PSH, 1001, 500_001, THEIRS[sent] + b"data")
    assert got.payload == OWN[proxy] + b"data"
    (got,) = talk.up(ACK | PSH, 1005 + len(THEIRS[sent]), 500_001, b"more")
    assert got.seq == 1005 + len(OWN[proxy]) and got.payload == b"more"


@pytest.mark.parametrize("proxy", ["v1", "v2"])
def test_believed_clients_keep_theirs(kind, proxy):
    talk = proxied(kind, f"{proxy}-insecure")
    (got,) = talk.up(ACK | PSH, 1001, 500_001, THEIRS[proxy] + b"data")
    assert got.payload == THEIRS[proxy] + b"data"


@pytest.mark.parametrize(("sent", "proxy"), [("v2", "v1"), ("v1", "v2")])
def test_headers_of_believed_clients_are_translated(kind, sent, proxy):
    """What comes next is counted right on both sides."""
    talk = proxied(kind, f"{proxy}-insecure")
    (got,) = talk.up(ACK | PSH, 1001, 500_001, THEIRS[sent] + b"data")
    assert got.payload == THEIRS[proxy] + b"data"
    past, ahead = 1005 + len(THEIRS[sent]), 1005 + len(THEIRS[proxy])
    (got,) = talk.up(ACK | PSH, past, 500_001, b"more")
    assert (got.seq, got.payload) == (ahead, b"more")
    (got,) = talk.down(ACK, 500_001, ahead + 4)
    assert got.ack == past + 4 and audit(talk.rig.address) == []


@pytest.mark.parametrize("text", ["2001:DB8:9:0::0.0.0.9 2001:db8:8::8", "::1 ::1 1"])
def test_a_line_in_another_spelling_or_malformed(kind, text):
    talk = proxied(kind, "v2-insecure")
    (got,) = talk.up(ACK | PSH, 1001, 500_001, f"PROXY TCP6 {text} 7 443\r\ndata".encode())
    right = text.startswith("2001")
    assert got.payload == (THEIRS if right else OWN)["v2"] + b"data"


@pytest.mark.parametrize("new_isn", [0, 1])
def test_proxy_header_ahead_of_a_full_segment(kind, new_isn):
    talk = proxied(kind, "v2", new_isn)
    size = FULL[kind] - 60
    first, second = talk.up(ACK | PSH, 1001, 500_001, bytes(size))
    assert (first.payload, first.flags) == (OWN["v2"], ACK | PSH)
    assert first.seq == (1001 + talk.delta) & MASK
    assert second.payload == bytes(size) and second.seq == (first.seq + 52) & MASK
    (got,) = talk.down(ACK, 500_001, 1001 + talk.delta + 52 + 10)
    assert got.ack == 1011


def test_first_data_in_fragments_has_no_place_for_a_header(kind):
    talk = proxied(kind, "v1")
    frame = talk.client_frame(ACK | PSH, 1001, 500_001, bytes(200))
    assert talk.rig.at_once(0, *cut6(frame, [8], 5)) == [[], []]
    assert talk.rig.drops() == {"proxy_order": 1, "frag_refused": 1}


# UDP


def query(payload=b"query", size=0, header=None):
    layer = oracle.segment("udp", SPORT, 53, payload=payload or bytes(size))
    return frame6(FROM_CLIENT, (CLIENT6, VIP6), layer if header is None else header / layer)


def udp_rig(kind, **more):
    return six_rig(kind, proto="udp", port=53, **more)


def delivered(out, kind, payload, told=False):
    """The frame a server gets, built anew; local port and identification as in ``out``."""
    talk = Talk6(None, kind)
    between = b"\x20\x11\x00\x18" + option(kind=31) if told else b""
    at = 14 + (20 if kind == "nat64" else 40) + len(between)
    lport = int.from_bytes(out[at : at + 2], "big")
    udp = struct.pack(">HHHH", lport, RPORT, 8 + len(payload), 0) + payload
    ident = int.from_bytes(out[18:20], "big")
    return frame_of(to_server(), talk.inside, 17, udp, ident=ident, between=between)


@pytest.mark.parametrize("payload", [b"x", b"odd", b"even"])
def test_uoa_in_the_first_packets(kind, payload):
    """The header of protocol 248 says version 2; the UDP checksum is right when it is gone."""
    rig = udp_rig(kind, uoa=3)
    for number in range(5):
        _, (out,) = rig.at_once(0, query(payload))
        assert out == delivered(out, kind, payload, told=number < 3)
    assert rig.drops() == {} and bool(special(rig)) == (kind == "nat64")


def test_uoa_ahead_of_a_full_packet_and_of_extension_headers(kind):
    rig = udp_rig(kind, uoa=2)
    size = FULL[kind] - 48
    _, (ahead, whole) = rig.at_once(0, query(bytes(size)))
    assert ahead == delivered(ahead, kind, b"", told=True)
    assert whole == delivered(whole, kind, bytes(size))
    _, (ahead, whole) = rig.at_once(0, query(header=IPv6ExtHdrDestOpt()))
    assert ahead == delivered(ahead, kind, b"", told=True)
    if kind == "nat64":
        assert whole == delivered(whole, kind, b"query")
    else:
        assert whole[20] == 60 and whole[62:] == delivered(ahead, kind, b"query", True)[54 + 24 :]
    assert rig.drops() == {} and not Entry(entry_of(rig.w.table, 3)).special & 64


def test_uoa_does_not_go_into_fragments_nor_into_ip_options(kind):
    rig = udp_rig(kind, uoa=1)
    _, lan = rig.at_once(0, *cut6(query(bytes(range(200))), [8, 16], 7))
    whole = (fragments.joined if kind == "nat64" else joined6)(lan)
    assert whole[-200:] == bytes(range(200)) and rig.drops() == {"uoa_room": 1}
    _, (out,) = rig.at_once(0, query())
    assert out == delivered(out, kind, b"query", told=True), "the next one tells"
    rig = udp_rig(kind, uoa=1, in_ip=1)
    _, (out,) = rig.at_once(0, query())
    assert out == delivered(out, kind, b"query") and rig.drops() == {}


@pytest.mark.parametrize("sent", [b"", binary(*OTHERS, 2)])
@pytest.mark.parametrize("insecure", [False, True])
def test_proxy_v2_in_the_first_datagram(kind, sent, insecure):
    rig = udp_rig(kind, proxy_protocol="v2-insecure" if insecure else "v2")
    front = binary(*ENDS[:3], 53, 2) if not (insecure and sent) else sent
    _, (out,) = rig.at_once(0, query(sent + b"query"))
    assert out == delivered(out, kind, front + b"query")
    _, (out,) = rig.at_once(0, query())
    assert out == delivered(out, kind, b"query")
    rig = udp_rig(kind, proxy_protocol="v2")
    size = FULL[kind] - 48
    _, (ahead, whole) = rig.at_once(0, query(bytes(size)))
    assert ahead == delivered(ahead, kind, binary(*ENDS[:3], 53, 2))
    assert whole == delivered(whole, kind, bytes(size))
    rig = udp_rig(kind, proxy_protocol="v2")
    assert rig.at_once(0, *cut6(query(bytes(200)), [8], 7)) == [[], []]
    assert rig.drops() == {"proxy_order": 1, "frag_refused": 1}


# ICMP errors about what was changed


def test_errors_from_the_servers_side_speak_of_what_the_client_sent(kind):
    """Its sequence number, and an MTU that leaves room for the option."""
    talk = Talk6(six_rig(kind, toa=1, new_isn=1), kind)
    syn, _ = talk.open()
    _, (out,) = talk.rig.at_once(0, talk.client_frame(ACK | PSH, 1001, 500_001, b"abcd"))
    packet = Ether(out).payload
    if kind == "nat64":
        error = IP(src="198.19.0.99", dst=talk.inside[0]) / ICMP(type=3, code=4, nexthopmtu=1400)
    else:
        error = IPv6(src="2001:db8:2::99", dst=talk.inside[0]) / ICMPv6PacketTooBig(mtu=1400)
    frame = Ether(src=from_server()[0], dst=from_server()[1]) / error / Raw(bytes(packet))
    (got,), lan = talk.rig.at_once(1, bytes(frame))
    message = Ether(got)[ICMPv6PacketTooBig]
    quoted = bytes(message.payload)
    assert lan == [] and message.mtu == (1400 if kind == "nat64" else 1380)
    assert IPv6(quoted).src == CLIENT6 and IPv6(quoted).dst == VIP6
    sport, dport, seq = struct.unpack_from(">HHI", quoted, 40)
    assert (sport, dport, seq) == (SPORT, DPORT, 1001)
    whole = Ether(got)[IPv6]
    stored = whole.payload.cksum
    del whole.payload.cksum
    assert IPv6(bytes(whole)).payload.cksum == stored
    assert syn.flags == SYN
