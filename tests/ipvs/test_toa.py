"""TOA: which segments tell the server the client's address, where, and what makes way for it."""

from __future__ import annotations

import functools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipvs.entry import SPECIAL, Entry
from ipvs.table import entry_of
from tests.pathrig import CLIENT_MAC, LADDR, LAN, MACS, WAN, Rig, server, server_mac
from tests.stream_rig import (
    ACK,
    FIN,
    PSH,
    RPORT,
    RST,
    SYN,
    Talk,
    build,
    option,
    stream_rig,
    take_apart,
)

MSS = b"\x02\x04\x05\xb4"
STAMP = b"\x01\x01\x08\x0a" + bytes(range(8))
SPOOFED = b"\xfe\x08\x00\x50\x0a\x00\x00\x01"
HANDSHAKE = {
    "nothing": b"",
    "linux": MSS + b"\x04\x02\x08\x0a" + bytes(8) + b"\x01\x03\x03\x07",
    "window scale": MSS + b"\x01\x03\x03\x07\x04\x02\x01\x01",
}


@functools.cache
def shared():
    return stream_rig()


def special(rig):
    """1 while the connection needs more than the fast path."""
    return bool(Entry(entry_of(rig.w.table, 1)).flags & SPECIAL)


def established(rig=None, **more):
    """A connection whose server has answered the SYN: the next ACK completes the handshake."""
    talk = Talk(rig or stream_rig(), **more)
    talk.open()
    return talk


def test_the_whole_frame_is_exact():
    talk = established()
    frame = talk.client_frame(ACK | PSH, 1001, 500_001, b"GET / HTTP/1.0\r\n\r\n", STAMP)
    _, (out,) = talk.rig.exchange(WAN, frame)
    assert out == build(
        (MACS[LAN], server_mac(0)), ((LADDR, talk.lport), (server(0), RPORT)), 1001, 500_001,
        ACK | PSH, b"GET / HTTP/1.0\r\n\r\n", option() + STAMP,
    )  # fmt: skip


@pytest.mark.parametrize("options", HANDSHAKE.values(), ids=HANDSHAKE.keys())
def test_syn_has_none_and_the_answer_leaves_room_for_it(options):
    syn, answer = Talk(stream_rig()).open(options, options)
    assert syn.options == options and (syn.seq, syn.ack) == (1000, 0)
    assert answer.options == options.replace(MSS, b"\x02\x04\x05\xac")  # 1460 - 8
    assert (answer.seq, answer.ack) == (500_000, 1001)


def test_every_segment_that_acknowledges_no_data_has_it_and_no_other():
    talk = established()
    assert talk.up(ACK, 1001, 500_001)[0].options == option()
    assert talk.up(ACK | PSH, 1001, 500_001, b"one")[0].options == option()
    assert talk.up(RST, 1004, 0)[0].options == b""
    talk.down(ACK, 500_001, 1004)
    assert talk.up(ACK | PSH, 1004, 500_001, b"two")[0].options == option()  # a long upload
    assert talk.up(ACK | FIN, 1007, 500_001)[0].options == option()
    talk.down(ACK | PSH, 500_001, 1004, b"answer")
    assert talk.up(ACK, 1008, 500_001)[0].options == option()  # a duplicate
    assert special(talk.rig)
    assert talk.up(ACK, 1008, 500_007)[0].options == b""
    assert not special(talk.rig), "the fast path has the connection from here on"
    assert talk.up(ACK, 1008, 500_007, b"more")[0].options == b""
    assert talk.rig.drops() == {} and talk.rig.clean()


def test_numbers_wrap():
    talk = established(isn=0xFFFFFFFF, server_isn=0xFFFFFFFF)
    assert talk.up(ACK, 0, 0)[0].options == option()
    talk.down(ACK, 0, 0, b"data")
    assert talk.up(ACK, 0, 4)[0].options == b""


def test_an_acknowledgement_of_what_was_never_sent_ends_nothing():
    """Else the next ACK, which completes the handshake, could say what the client likes."""
    talk = established()
    talk.up(ACK, 1001, 500_099)
    talk.down(ACK, 500_001, 1001)  # what a server in SYN-RECEIVED answers to odd segments
    talk.down(RST, 500_099)
    got = talk.up(ACK, 1001, 500_001, options=SPOOFED)[0]
    assert got.options == option() + b"\x01" * 8


@pytest.mark.parametrize("flags", [SYN, ACK, ACK | PSH | FIN, RST], ids="SAPR")
def test_options_of_clients_are_blanked(flags):
    talk = Talk(stream_rig())
    if flags != SYN:
        talk.open()
    (got,) = talk.up(
        flags, 1000, 500_001 if flags & ACK else 0, options=b"\x01\x01" + SPOOFED * 2 + b"\x01\x00"
    )
    blank = b"\x01" * 19 + b"\x00"
    assert got.options == (option() + blank if flags & ACK else blank)


def test_first_option_counts_even_behind_one_that_lies():
    """Nobody reads behind an option whose length is wrong, so nothing there needs blanking."""
    talk = established()
    (got,) = talk.up(ACK, 1001, 500_001, options=b"\x08\x01" + SPOOFED + b"\x01\x01")
    assert got.options == option() + b"\x08\x01" + SPOOFED + b"\x01\x01"


def test_a_new_connection_on_the_same_port_tells_the_client_again():
    talk = established()
    talk.up(ACK, 1001, 500_001)
    talk.down(ACK, 500_001, 1001, b"x")
    talk.up(ACK | FIN, 1001, 500_002)
    assert not special(talk.rig)
    talk.down(ACK | FIN, 500_002, 1002)
    talk.up(ACK, 1002, 500_003)
    (syn,) = talk.up(SYN, 90_000, options=SPOOFED)
    assert syn.options == b"\x01" * 8
    talk.down(SYN | ACK, 700_000, 90_001)
    assert talk.up(ACK, 90_001, 700_001)[0].options == option()
    assert talk.rig.applier.connections() == 1


def test_restarted_server_of_an_established_connection():
    """RFC 9293 3.5.1: the server has forgotten, the client tries anew in a state of ours that
    does not change; the server's SYN-ACK alone says so."""
    talk = established()
    talk.up(ACK, 1001, 500_001)
    talk.down(ACK, 500_001, 1001, b"x")
    talk.up(ACK, 1001, 500_002)
    assert not special(talk.rig)
    talk.up(SYN, 90_000)
    talk.down(SYN | ACK, 700_000, 90_001)
    assert talk.up(ACK, 90_001, 700_001)[0].options == option()


FULL = b"\x05\x0a" + bytes(8)


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (STAMP + FULL * 2, STAMP + FULL * 2),  # 32: fits beside 8
        (STAMP + b"\x01" * 4 + FULL * 2, STAMP[2:] + FULL * 2 + b"\0\0"),
        (STAMP + b"\x01\x01" + FULL + b"\x1d\x10" + bytes(14), STAMP[2:] + b"\0\0"),
        (b"\xfe\x26" + bytes(36) + b"\0\0", b""),
        (b"\x05\x22" + bytes(32) + b"\x01" * 6, b""),
    ],
    ids=["fits", "NOPs go", "timestamp alone stays", "one long TOA goes", "SACK goes"],
)  # fmt: skip
def test_full_options_make_way(given_, kept):
    talk = established()
    assert len(given_) % 4 == 0
    (got,) = talk.up(ACK, 1001, 500_001, b"data", given_)
    assert got.options == option() + kept and got.payload == b"data"
    assert talk.rig.drops() == {}


@pytest.mark.parametrize(("payload", "told"), [(1452, 1), (1453, 0), (1460, 0)])
def test_full_mtu(payload, told):
    """What the lowered MSS allows fits; a client that sends more is served without."""
    talk = established()
    (got,) = talk.up(ACK, 1001, 500_001, bytes(payload))
    assert got.options == option() * told and len(got.payload) == payload
    assert talk.rig.drops() == ({} if told else {"toa_room": 1})


def test_full_mtu_makes_way_for_the_option_by_its_own():
    talk = established()
    (got,) = talk.up(ACK, 1001, 500_001, bytes(1440), b"\x01" * 8 + STAMP)
    assert got.options == option() + STAMP[2:] + b"\0\0" and len(got.payload) == 1440


def test_ip_options_stay_in_front():
    talk = established()
    router_alert = b"\x94\x04\x00\x00"
    (got,) = talk.up(ACK, 1001, 500_001, b"data", STAMP, ip_options=router_alert)
    assert got.options == option() + STAMP and got.raw[34:38] == router_alert


def test_ttl_and_statistics():
    rig = stream_rig()
    rig.w.xmit_ttl = 1
    talk = established(rig)
    (got,) = talk.up(ACK, 1001, 500_001, b"12345", ttl=9)
    assert got.raw[22] == 8
    wan, lan = rig.exchange(WAN, talk.client_frame(ACK, 1001, 500_001, b"", ttl=1))
    assert lan == [] and wan[0][34] == 11  # time exceeded
    assert rig.drops() == {"ip_ttl": 1}


def test_waits_for_the_neighbour_whole():
    rig = stream_rig(rig=Rig(neighbours=False, static=True))
    rig.apply("neigh.set", addr="198.18.0.2", dev=WAN, mac=CLIENT_MAC, static=True)
    talk = Talk(rig)
    rig.exchange(WAN, talk.client_frame(SYN, 1000))
    rig.exchange(WAN, talk.client_frame(ACK, 1001, 1))
    rig.apply("neigh.set", addr=server(0), dev=LAN, mac=server_mac(0), static=True)
    _, lan = rig.run()
    segments = [take_apart(frame) for frame in lan if frame[12:14] == b"\x08\x00"]
    assert [got.options for got in segments] == [b"", option()]


@pytest.mark.parametrize("mode", ["nat", "dr"])
def test_other_modes_have_none(mode):
    rig = stream_rig(mode=mode)
    talk = Talk(rig)
    rig.exchange(WAN, talk.client_frame(SYN, 1000))
    _, (out,) = rig.exchange(WAN, talk.client_frame(ACK, 1001, 1, options=STAMP))
    assert take_apart(out).options == STAMP


def test_switched_off():
    talk = Talk(stream_rig(toa=0))
    _, answer = talk.open()
    assert answer.options == MSS
    assert talk.up(ACK, 1001, 500_001, options=SPOOFED)[0].options == SPOOFED


OPTION_BYTES = st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))
KINDS = st.lists(
    st.sampled_from([b"\x01", STAMP[2:], SPOOFED, FULL, b"\x04\x02", MSS, b"\xfe\x03\x00"]),
    max_size=6,
).map(lambda parts: (b"".join(parts)[:40] + b"\x01" * 3)[: (len(b"".join(parts)[:40]) + 3) & ~3])


def read(options):
    """(kind, bytes) of options as a receiver reads them; padding left out."""
    at, found = 0, []
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        if at + 2 > len(options) or not 2 <= options[at + 1] <= len(options) - at:
            break
        found.append((options[at], options[at : at + options[at + 1]]))
        at += options[at + 1]
    return found


@given(OPTION_BYTES | KINDS, st.integers(0, 1460))
@example(STAMP[2:] * 4, 0)  # nothing can be left out to make room
def test_any_options_leave_one_true_toa_and_whole_data(options, size):
    """Whatever clients send: checksums right, nothing of theirs is taken for the balancer's."""
    rig = shared()
    talk = Talk(rig)
    talk.open()
    payload = bytes(i & 0xFF for i in range(min(size, 1460 - len(options))))
    (got,) = talk.up(ACK, 1001, 500_001, payload, options)
    assert got.payload == payload and (got.seq, got.ack) == (1001, 500_001)
    found = [raw for kind, raw in read(got.options) if kind == 254]
    timestamps = sum(len(raw) for kind, raw in read(options) if kind == 8)
    if timestamps <= 32 and 40 + len(options) + len(payload) <= 1492:
        assert found == [option()]
        assert got.options[:8] == option()
    else:
        assert found in ([], [option()])
    wanted = [pair for pair in read(options) if pair[0] != 254]
    rest = [pair for pair in read(got.options) if pair[0] != 254]
    assert rest == wanted or all(pair in wanted for pair in rest)
    talk.up(RST, 1001)
    rig.sleep(4_000, 1_000)
    assert rig.clean()
