"""Sequence numbers: the client's and the server's count differ for a connection's whole life."""

from __future__ import annotations

import functools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import checksum

from tests.pathrig import LADDR, LAN, MACS, server_mac
from tests.stream_rig import ACK, FIN, MASK, PSH, RST, SYN, Talk, stream_rig

NUMBER = st.integers(0, MASK)
STAMP = b"\x08\x0a" + bytes(range(8))


def sack(*edges, before=b"\x01\x01"):
    """SACK with the given edges, behind ``before``; padded to words with NOPs."""
    option = before + bytes([5, 2 + 4 * len(edges)]) + struct.pack(f">{len(edges)}I", *edges)
    return option + b"\x01" * (-len(option) % 4)


@functools.cache
def shared():
    """A connection in the middle of its life, and what is added to the client's numbers."""
    talk = Talk(stream_rig(toa=0, new_isn=1), isn=1000)
    syn, _ = talk.open()
    talk.up(ACK, 1001, 500_001)
    return talk, (syn.seq - 1000) & MASK


def test_syn_gets_a_new_number_and_no_timestamp():
    talk = Talk(stream_rig(toa=0, new_isn=1))
    (syn,) = talk.up(SYN, 1000, options=b"\x02\x04\x05\xb4" + STAMP + b"\x04\x02")
    assert syn.options == b"\x02\x04\x05\xb4" + b"\x01" * 10 + b"\x04\x02"
    (again,) = talk.up(SYN, 1000)
    assert again.seq == syn.seq, "a retransmission is the same SYN"
    (answer,) = talk.down(SYN | ACK, 7, syn.seq + 1, options=b"\x04\x02\x01\x01")
    assert (answer.seq, answer.ack, answer.options) == (7, 1001, b"\x04\x02\x01\x01")


def test_rfc6528_number_grows_with_time_over_the_same_tuple():
    """By 250 a millisecond, whatever numbers the clients choose."""
    rig = stream_rig(toa=0, new_isn=1)
    talk = Talk(rig)
    (first,) = talk.up(SYN, 0xFFFFFFF0)
    talk.down(RST | ACK, 0, first.seq + 1)
    rig.now += 1_000
    (second,) = talk.up(SYN, 5)
    assert second.sport == first.sport and (second.seq - first.seq) & MASK == 250_000


def test_refused_connection():
    """RFC 9293 3.10.7.3: the client takes a RST only if it acknowledges its SYN."""
    talk = Talk(stream_rig(toa=0, new_isn=1))
    (syn,) = talk.up(SYN, 1000)
    (reset,) = talk.down(RST | ACK, 0, syn.seq + 1)
    assert (reset.flags, reset.ack) == (RST | ACK, 1001)


@given(NUMBER, NUMBER, NUMBER, NUMBER)
def test_rfc2018_every_number_in_both_directions(seq, ack, left, right):
    talk, delta = shared()
    (got,) = talk.up(ACK | PSH, seq, ack, b"data", sack(left, right))
    assert (got.seq, got.ack, got.options) == ((seq + delta) & MASK, ack, sack(left, right))
    (got,) = talk.down(ACK | PSH, seq, ack, b"odd", sack(left, right))
    assert (got.seq, got.ack) == (seq, (ack - delta) & MASK)
    assert got.options == sack((left - delta) & MASK, (right - delta) & MASK)


def test_sack_of_every_size_wherever_it_stands():
    talk, delta = shared()
    for before in (b"", b"\x01", b"\x01\x01", STAMP, b"\x01" + STAMP):
        for blocks in (1, 2, 3):
            edges = [delta + 5000 * i for i in range(2 * blocks)]
            options = sack(*(edge & MASK for edge in edges), before=before)
            (got,) = talk.down(ACK, 500_001, delta + 1001, options=options)
            assert got.options == sack(*(5000 * i for i in range(2 * blocks)), before=before)


def test_malformed_sack_stays_inside_the_header():
    talk, delta = shared()
    for options in (b"\x05\x06" + bytes(4) + b"\x05\x0a", b"\x05\x02\x01\x01", b"\x01\x01\x01\x05"):
        (got,) = talk.down(ACK, 500_001, delta + 1001, b"data", options)
        assert len(got.options) == len(options) and got.payload == b"data"


def test_rfc1122_4_2_3_6_keep_alive_is_one_below():
    talk, delta = shared()
    (got,) = talk.up(ACK, 1000, 500_001)
    assert got.seq == (1000 + delta) & MASK
    (got,) = talk.down(ACK, 500_000, delta + 1001)
    assert (got.seq, got.ack) == (500_000, 1001)


def test_resets_keep_their_meaning():
    """RFC 9293 3.5.2: without ACK the number counts, with ACK the acknowledgement as well."""
    talk = Talk(stream_rig(toa=0, new_isn=1))
    syn, _ = talk.open()
    delta = (syn.seq - 1000) & MASK
    talk.up(ACK, 1001, 500_001)
    (got,) = talk.up(RST, 1001, 77)
    assert (got.seq, got.ack) == ((1001 + delta) & MASK, 77)
    (got,) = talk.down(RST, 500_001, 0)
    assert (got.seq, got.ack) == (500_001, 0), "no ACK flag: the field means nothing"
    (got,) = talk.down(RST | ACK, 500_001, 1001 + delta)
    assert got.ack == 1001


def test_forged_syn_does_not_move_an_established_connection():
    """RFC 5961 4: the server answers with the ACK of the connection that goes on."""
    talk = Talk(stream_rig(toa=1, new_isn=1))
    syn, _ = talk.open()
    delta = (syn.seq - 1000) & MASK
    talk.up(ACK, 1001, 500_001)
    talk.up(SYN, 123_456)
    (got,) = talk.down(ACK, 500_001, 1001 + delta)
    assert got.ack == 1001
    (got,) = talk.up(ACK | FIN, 1001, 500_001)
    assert got.seq == (1001 + delta) & MASK and talk.rig.drops() == {}


def test_counts_of_two_connections_do_not_mix():
    rig = stream_rig(toa=0, new_isn=1)
    talks = [Talk(rig, sport=port, isn=port * 7919) for port in (2000, 2001)]
    syns = [talk.open()[0] for talk in talks]
    for talk, syn in zip(talks, syns, strict=True):
        (got,) = talk.up(ACK, talk.isn + 1, 500_001)
        assert got.seq == (syn.seq + 1) & MASK
    assert syns[0].seq != syns[1].seq


def icmp_error(quoted, code=4, mtu=1400):
    """The server's router about a segment that the server was sent."""
    body = struct.pack(">BBHHH", 3, code, 0, 0, mtu) + quoted
    body = body[:2] + struct.pack(">H", checksum(body)) + body[4:]
    ip = IP(src="198.19.0.99", dst=LADDR, proto=1) / Raw(body)
    return bytes(Ether(src=server_mac(0), dst=MACS[LAN]) / ip)


@pytest.mark.parametrize("quoted", [28, 40, 52])
@pytest.mark.parametrize(("kind", "more"), [("disable", 0), ("v2", 28)])
def test_rfc5508_quoted_number_is_the_clients(quoted, kind, more):
    talk = Talk(stream_rig(toa=0, new_isn=1, proxy_protocol=kind))
    syn, _ = talk.open()
    talk.up(ACK | PSH, 1001, 500_001, b"first")
    (got,) = talk.up(ACK | PSH, 1006, 500_001, bytes(12))
    assert got.seq == (syn.seq + 6 + more) & MASK
    wan, _ = talk.rig.exchange(LAN, icmp_error(got.raw[14 : 14 + quoted]))
    back = wan[0][42:]
    assert struct.unpack_from(">I", back, 24)[0] == 1006
    assert struct.unpack_from(">H", wan[0], 40)[0] == 1400
    if quoted == 52:
        fixed = talk.client_frame(ACK | PSH, 1006, 500_001, bytes(12))[14:66]
        assert back[20:52] == fixed[20:52], "checksum and all"


def test_told_mtu_leaves_room_for_toa():
    talk = Talk(stream_rig())
    talk.open()
    (got,) = talk.up(ACK | PSH, 1001, 500_001, bytes(1000))
    wan, _ = talk.rig.exchange(LAN, icmp_error(got.raw[14:42]))
    assert struct.unpack_from(">H", wan[0], 40)[0] == 1392
