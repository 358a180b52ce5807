"""Proxy protocol in TCP: whatever happens to segments, the server reads header and data once."""

from __future__ import annotations

import itertools
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipvs.entry import SPECIAL, Entry
from ipvs.table import entry_of
from tests.frame_oracle import fill_checksums
from tests.ipvs.test_proxy_header import binary, line
from tests.pathrig import CLIENT, LADDR, LAN, MACS, VIP, WAN, server, server_mac
from tests.stream_rig import (
    ACK,
    DPORT,
    FIN,
    MASK,
    PSH,
    RPORT,
    RST,
    SPORT,
    SYN,
    URG,
    Talk,
    build,
    stream_rig,
    take_apart,
)

ENDS = (socket.inet_aton(CLIENT), socket.inet_aton(VIP), SPORT, DPORT)
OTHERS = (socket.inet_aton("203.0.113.9"), socket.inet_aton("192.0.2.1"), 7, 443)
OWN = {"v1": line(*ENDS), "v2": binary(*ENDS)}
THEIRS = {"v1": line(*OTHERS), "v2": binary(*OTHERS)}
STAMP = b"\x01\x01\x08\x0a" + bytes(range(8))


def proxied(kind="v1", new_isn=0, rig=None, **more):
    """A connection through a service with proxy protocol, its handshake done."""
    rig = rig or stream_rig(new_isn=new_isn, proxy_protocol=kind)
    talk = Talk(rig, **more)
    syn, answer = talk.open()
    assert answer.ack == (talk.isn + 1) & MASK
    talk.delta = (syn.seq - talk.isn) & MASK
    (got,) = talk.up(ACK, talk.isn + 1, 500_001)
    assert got.payload == b"" and got.options == b"" and got.seq == (syn.seq + 1) & MASK
    return talk


@pytest.mark.parametrize("kind", ["v1", "v2", "v1-insecure", "v2-insecure"])
def test_the_whole_frame_is_exact(kind):
    talk = proxied(kind)
    frame = talk.client_frame(ACK | PSH, 1001, 500_001, b"GET / HTTP/1.0\r\n\r\n", STAMP)
    _, (out,) = talk.rig.exchange(WAN, frame)
    assert out == build(
        (MACS[LAN], server_mac(0)), ((LADDR, talk.lport), (server(0), RPORT)), 1001, 500_001,
        ACK | PSH, OWN[kind[:2]] + b"GET / HTTP/1.0\r\n\r\n", STAMP,
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_numbers_behind_the_header(kind, size):
    talk = proxied(kind, new_isn=1)
    more = len(OWN[kind])
    talk.up(ACK | PSH, 1001, 500_001, bytes(size))
    for seq in (1001 + size, 1001 + size + 1000):
        (got,) = talk.up(ACK | PSH, seq, 500_001, b"data")
        assert got.seq == (seq + talk.delta + more) & MASK and got.payload == b"data"
    (got,) = talk.up(RST, 1001 + size, 0)
    assert got.seq == (1001 + size + talk.delta + more) & MASK


def test_acknowledgements_come_back_without_it():
    talk = proxied("v2", new_isn=1)
    talk.up(ACK | PSH, 1001, 500_001, b"12345")
    first = 1001 + talk.delta
    for theirs, ours in ((0, 1001), (1, 1001), (27, 1001), (28, 1001), (29, 1002), (33, 1006)):
        block = struct.pack(">II", (first + 40) & MASK, (first + 50) & MASK)
        (got,) = talk.down(ACK, 500_001, first + theirs, options=b"\x01\x01\x05\x0a" + block)
        assert got.ack == ours
        assert struct.unpack(">II", got.options[4:]) == (1013, 1023)


@pytest.mark.parametrize("kind", ["v1", "v2"])
@pytest.mark.parametrize("theirs", [b"", THEIRS["v1"], THEIRS["v2"]])
@pytest.mark.parametrize("size", [20, 1440])
def test_rfc9293_3_8_5_urgent_data_stays_where_it_is(kind, theirs, size):
    """The pointer counts from the segment's begin, and the header is in front of the data.

    A segment that has no room for the header follows it.
    """
    talk = proxied(kind)
    data = theirs + bytes(size - len(theirs)) if size > 1000 else theirs + bytes(size)
    frame = bytearray(talk.client_frame(ACK | URG, 1001, 500_001, data))
    struct.pack_into(">H", frame, 14 + 20 + 18, len(theirs) + 5)
    fill_checksums(l3 := frame[14:])
    _, lan = talk.rig.exchange(WAN, bytes(frame[:14] + l3))
    got = take_apart(lan[-1])
    (urgent,) = struct.unpack_from(">H", lan[-1], 14 + 20 + 18)
    ahead = 0 if len(lan) == 2 else len(OWN[kind])
    assert got.flags == ACK | URG and urgent == ahead + 5
    assert got.payload[urgent - 5 :] == data[len(theirs) :]
    assert len(lan) == 1 + (size > 1000 and len(OWN[kind]) > len(theirs) + 20)


SIX_ENDS = (socket.inet_pton(10, "2001:db8::1"), socket.inet_pton(10, "::"), 1, 2)
THEIR_OWN = [
    # kind, what the client sends in front, what the server reads there
    *((kind, THEIRS[sent], OWN[kind]) for kind in ("v1", "v2") for sent in ("v1", "v2")),
    *((f"{kind}-insecure", THEIRS[kind], THEIRS[kind]) for kind in ("v1", "v2")),
    ("v1-insecure", THEIRS["v2"], THEIRS["v1"]),
    ("v2-insecure", THEIRS["v1"], THEIRS["v2"]),
    ("v1", b"PROXY UNKNOWN\r\n", OWN["v1"]),
    ("v1-insecure", b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN\r\n"),
    ("v2-insecure", b"PROXY UNKNOWN\r\n", OWN["v2"]),
    ("v1-insecure", THEIRS["v2"][:12] + b"\x20\x00\x00\x00", OWN["v1"]),
    ("v2-insecure", b"PROXY TCP4 1.2.3.4 1.2.3.999 1 2\r\n", OWN["v2"]),
    ("v2", THEIRS["v2"][:12], OWN["v2"] + THEIRS["v2"][:12]),
    ("v2-insecure", b"PROXY TCP4 1.2.3.4", OWN["v2"] + b"PROXY TCP4 1.2.3.4"),
    ("v1-insecure", binary(*SIX_ENDS), line(*SIX_ENDS)),
    ("v2-insecure", line(*SIX_ENDS), binary(*SIX_ENDS)),
    ("v2-insecure", b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", OWN["v2"]),
]


@pytest.mark.parametrize(("kind", "sent", "read"), THEIR_OWN)
@pytest.mark.parametrize("data", [b"", b"GET", b"even"])
def test_a_header_the_client_sends(kind, sent, read, data):
    talk = proxied(kind)
    for _ in range(2):  # a retransmission is the same to the byte
        (got,) = talk.up(ACK | PSH, 1001, 500_001, sent + data)
        assert (got.seq, got.payload) == (1001, read + data)
    (got,) = talk.up(ACK | PSH, 1001 + len(sent + data), 500_001, b"more")
    assert got.seq == 1001 + len(read + data)
    (got,) = talk.down(ACK, 500_001, 1001 + len(read + data))
    assert got.ack == 1001 + len(sent + data)
    if read != sent and sent == THEIRS["v1"]:
        talk.up(ACK | PSH, 1001, 500_001, sent[:10])
        talk.up(ACK | PSH, 1011, 500_001, sent[10:])
        assert talk.rig.drops() == {"proxy_order": 2}, "cut through the header that was replaced"


@pytest.mark.parametrize("options", [b"", STAMP], ids=["plain", "timestamp"])
@pytest.mark.parametrize(("kind", "sent"), [("v1", b""), ("v2", b""), ("v1", THEIRS["v2"])])
def test_full_segment_sends_the_header_ahead(kind, sent, options):
    talk = proxied(kind)
    data = sent + bytes(i & 0xFF for i in range(1460 - len(options) - len(sent)))
    header, whole = talk.up(ACK | PSH | FIN, 1001, 500_001, data, options)
    assert (header.seq, header.payload, header.flags) == (1001, OWN[kind], ACK | PSH)
    assert (whole.seq, whole.payload) == (1001 + len(OWN[kind]), data[len(sent) :])
    assert whole.flags == ACK | PSH | FIN and header.options == whole.options == options
    assert header.ack == whole.ack == 500_001 and talk.rig.clean()


def test_no_buffer_for_the_header_ahead():
    talk = proxied()
    held = [talk.rig.pool.take() for _ in range(len(talk.rig.pool.free) - 1)]
    assert talk.up(ACK | PSH, 1001, 500_001, bytes(1460)) == []
    assert talk.rig.drops() == {"no_mbuf": 1}
    talk.rig.pool.free.extend(held)
    assert len(talk.up(ACK | PSH, 1001, 500_001, bytes(1460))) == 2


def test_data_before_the_first_waits():
    """Its numbers are not known yet: the client sends it again."""
    talk = proxied("v1", new_isn=1)
    assert talk.up(ACK | PSH, 1101, 500_001, b"second") == []
    assert talk.up(ACK | FIN, 1107, 500_001) == []
    assert talk.rig.drops() == {"proxy_order": 2}
    (got,) = talk.up(ACK, 1107, 500_009)
    assert got.seq == (1001 + talk.delta) & MASK and got.ack == 500_009
    (got,) = talk.up(ACK | PSH, 1001, 500_001, bytes(100))
    assert got.payload == OWN["v1"] + bytes(100)


def test_connection_without_data_gets_no_header():
    talk = proxied()
    (got,) = talk.up(ACK | FIN, 1001, 500_001)
    assert (got.seq, got.payload) == (1001, b"")
    (got,) = talk.down(ACK | FIN, 500_001, 1002)
    assert got.ack == 1002
    (got,) = talk.up(ACK, 1002, 500_002)
    assert got.seq == 1002


def test_fast_open_is_not_offered():
    """RFC 7413: data in the SYN would come before the header."""
    talk = Talk(stream_rig(proxy_protocol="v2"))
    (got,) = talk.up(SYN, 1000, options=b"\x22\x04\x12\x34\x02\x04\x05\xb4")
    assert got.options == b"\x01" * 4 + b"\x02\x04\x05\xb4"


def test_next_connection_over_the_same_port():
    talk = proxied("v1", new_isn=1)
    talk.up(ACK | PSH, 1001, 500_001, b"one")
    talk.up(RST, 1004)
    (syn,) = talk.up(SYN, 70_000)
    delta = (syn.seq - 70_000) & MASK
    (answer,) = talk.down(SYN | ACK, 900_000, syn.seq + 1)
    assert answer.ack == 70_001
    (got,) = talk.up(ACK | PSH, 70_001, 900_001, b"two")
    assert (got.seq, got.payload) == ((70_001 + delta) & MASK, OWN["v1"] + b"two")


def test_refused_on_a_reused_port():
    talk = proxied("v1")
    talk.up(ACK | PSH, 1001, 500_001, b"one")
    talk.up(RST, 1004)
    (syn,) = talk.up(SYN, 70_000)
    (reset,) = talk.down(RST | ACK, 0, syn.seq + 1)
    assert reset.ack == 70_001


@pytest.mark.parametrize("mode", ["nat", "dr"])
def test_only_full_nat_has_it(mode):
    rig = stream_rig(mode=mode, proxy_protocol="v1")
    talk = Talk(rig)
    rig.exchange(WAN, talk.client_frame(SYN, 1000))
    _, (out,) = rig.exchange(WAN, talk.client_frame(ACK, 1001, 1, b"data"))
    assert take_apart(out).payload == b"data"
    assert Entry(entry_of(rig.w.table, 1)).flags & SPECIAL == 0


@settings(max_examples=settings().max_examples // 2)
@given(st.data())
def test_any_loss_order_and_cut_gives_one_stream(data):
    """The server's receiver as RFC 9293 has it: bytes by number; what is missing is asked for."""
    draw = data.draw
    kind = draw(st.sampled_from(["v1", "v2", "v1-insecure", "v2-insecure"]))
    sent = draw(st.sampled_from([b"", THEIRS["v1"], THEIRS["v2"]]))
    stream = sent + bytes(i * 7 & 0xFF for i in range(draw(st.integers(1, 400))))
    front = sent if kind == f"{'v1' if sent == THEIRS['v1'] else 'v2'}-insecure" and sent else None
    if front is None:
        front = THEIRS[kind[:2]] if sent and "insecure" in kind else OWN[kind[:2]]
    talk = proxied(kind, isn=draw(st.sampled_from([1000, 0xFFFFFFF0])), new_isn=draw(st.booleans()))
    first, got, acked = talk.isn + 1, {}, 0
    base = (first + talk.delta) & MASK
    cut = draw(st.integers(max(1, len(sent)), len(stream)))
    cuts = draw(st.lists(st.integers(cut, len(stream)), max_size=3))
    pieces = list(itertools.pairwise(sorted({0, cut, len(stream), *cuts})))
    plan = draw(st.lists(st.sampled_from(pieces), max_size=6)) + pieces
    for begin, end in plan:
        for segment in talk.up(ACK | PSH, first + begin, 500_001, stream[begin:end]):
            for i, byte in enumerate(segment.payload):
                at = (segment.seq + i - base) & MASK
                assert got.setdefault(at, byte) == byte, "the stream changed"
        have = next(i for i in range(len(got) + 1) if i not in got)
        (back,) = talk.down(ACK, 500_001, base + have)
        now = (back.ack - first) & MASK
        assert acked <= now <= len(stream)
        acked = now
    whole = bytes(got[i] for i in range(len(got)))
    assert whole == front + stream[len(sent) :] and acked == len(stream)
