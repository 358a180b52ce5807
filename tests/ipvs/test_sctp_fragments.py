"""Fragments of SCTP packets beyond what test_fragments.py asks of every protocol: the first waits
for the last, in every mode, for so long and in so much memory as others may wait."""

from __future__ import annotations

import itertools
import struct

import pytest

from ipvs.datagram_queue import WAIT_ALL, WAIT_EACH
from ipvs.datagrams import LIFE_MS, SETS, WAYS
from ipvs.entry import Entry
from ipvs.table import entry_of
from tests import sctp_oracle
from tests.fragments import cut, headed, joined, packet_of
from tests.pathrig import LADDR, LAN, MACS, WAN, Rig, from_client, server, server_mac
from tests.sctp_oracle import INIT, chunk, data
from tools.daemon.listing import connection_row

ABORT, COOKIE_ECHO = 6, 10
_ids = itertools.count(1)


@pytest.fixture
def rig():
    made = Rig(static=True)
    made.service(0, "fullnat", "sctp")
    yield made
    made.sleep(3 * LIFE_MS)
    assert made.waiting() == 0 and made.clean()


def frame_of(packet, **ip):
    return bytes(from_client(packet, proto=132, **{"id": next(_ids) & 0xFFFF} | ip))


def sctp(*chunks):
    return sctp_oracle.packet(1234, 80, *chunks)


def opened(rig):
    """The local port of the association."""
    (out,) = rig.exchange(WAN, frame_of(sctp(chunk(INIT, bytes(16)))))[LAN]
    return int.from_bytes(out[34:36], "big")


def translated(packet, local):
    """The frame to the real server for a client's packet, whatever its checksum says."""
    old = struct.unpack("<I", packet[8:12])[0] ^ sctp_oracle.crc32c(blank(packet))
    moved = sctp_oracle.checked(struct.pack("!HH", local, 8000) + packet[4:])
    check = struct.unpack("<I", moved[8:12])[0] ^ old
    return moved[:8] + struct.pack("<I", check) + moved[12:]


def blank(packet):
    return packet[:8] + bytes(4) + packet[12:]


@pytest.mark.parametrize("size", [100, 1500, 2047, 4096, 20_000, 60_001])
@pytest.mark.parametrize("turned", [False, True])
def test_the_checksum_is_right_whatever_the_length(rig, size, turned):
    local = opened(rig)
    packet = sctp(data(size))
    frames = cut(frame_of(packet), range(4, len(packet) // 8, max(4, len(packet) // 8 // 42)))
    rig.push(WAN, *(frames[::-1] if turned else frames))
    _, out = rig.run(3)
    assert len(out) == len(frames) and out[0][20:22] == b"\x20\0"  # the first one first
    whole = joined(out)
    assert packet_of(whole)[20:] == translated(packet, local)
    assert sctp_oracle.is_right(packet_of(whole)[20:])
    assert whole[:14] == bytes.fromhex((server_mac(0) + MACS[LAN]).replace(":", "") + "0800")
    assert packet_of(whole)[12:20] == bytes(map(int, f"{LADDR}.{server(0)}".split(".")))
    assert rig.drops() == {}


def test_a_damaged_packet_stays_damaged(rig):
    """Nobody here sees all of it: its receiver must be able to tell."""
    local = opened(rig)
    packet = bytearray(sctp(data(900)))
    packet[700] ^= 0x40
    _, out = rig.exchange(WAN, *cut(frame_of(bytes(packet)), [40, 80]))
    got = packet_of(joined(out))[20:]
    assert got == translated(bytes(packet), local) and not sctp_oracle.is_right(got)


@pytest.mark.parametrize("mode", ["fullnat", "nat", "dr", "tunnel"])
def test_the_first_one_waits_for_the_last_in_every_mode(mode):
    rig = Rig(static=True)
    rig.service(0, mode, "sctp")
    frames = cut(frame_of(sctp(data(900))), [40, 80])
    assert rig.exchange(WAN, *frames[:2]) == [[], []] and rig.waiting() == 2
    assert rig.connections() == 0
    _, out = rig.exchange(WAN, frames[2])
    assert len(out) == 3 and rig.waiting() == 0 and rig.connections() == 1
    if mode in ("dr", "tunnel"):
        outer = 34 if mode == "tunnel" else 14
        assert [raw[outer:] for raw in out] == [raw[14:] for raw in frames]
    assert rig.drops() == {} and rig.clean()


def test_states_follow_the_first_chunk_of_all_fragments(rig):
    def state():
        return connection_row(Entry(entry_of(rig.w.table, 1)).ptr, rig.now, 1)["state"]

    rig.exchange(WAN, *cut(frame_of(sctp(chunk(INIT, bytes(100)))), [4, 8]))
    assert state() == "SCTP_INIT1"
    # A cookie that ends in the first fragment, with an ABORT behind it.
    packet = sctp(chunk(COOKIE_ECHO, bytes(20)), chunk(ABORT, bytes(60)))
    assert len(rig.exchange(WAN, *cut(frame_of(packet), [6]))[LAN]) == 2
    assert state() == "SCTP_CLOSED" and rig.drops() == {}


# Bad ones


@pytest.mark.parametrize(
    ("size", "reason"), [(8, "frag_tiny"), (16, ""), (24, "")], ids=["header", "chunk", "more"]
)
def test_rfc1858_the_first_one_has_header_and_a_chunks_head(rig, size, reason):
    opened(rig)
    frames = cut(frame_of(sctp(data(200))), [size // 8])
    out = rig.exchange(WAN, *frames)[LAN]
    assert len(out) == (0 if reason else 2)
    assert rig.drops() == ({reason: 1} if reason else {})


@pytest.mark.parametrize("length", [0, 3, 301, 65535])
def test_a_first_chunk_that_does_not_fit_the_packet(rig, length):
    """Known when the last one came: a chunk of 300 bytes would fit."""
    opened(rig)
    packet = bytearray(sctp(chunk(0, bytes(296))))
    packet[14:16] = struct.pack("!H", length)
    frames = cut(frame_of(sctp_oracle.checked(bytes(packet))), [10, 20])
    assert rig.exchange(WAN, *frames) == [[], []]
    assert rig.drops() == {"sctp_chunk": 1, "frag_refused": 2}


@pytest.mark.parametrize("evil", [(8, 16), (72, 64), (64, 16)])
def test_rfc5722_an_overlap_ends_a_packet_that_waits(rig, evil):
    opened(rig)
    frame = frame_of(sctp(data(900)))
    frames = cut(frame, [10, 20])
    header = packet_of(frame)[:20]
    overlap = frame[:14] + headed(header, bytes(evil[1]), 0x2000 | evil[0] // 8)
    assert rig.exchange(WAN, frames[0], overlap, *frames[1:]) == [[], []]
    assert rig.drops() == {"frag_overlap": 1, "frag_refused": 3} and rig.waiting() == 0


def test_fragments_of_an_sctp_packet_without_service_are_dropped_together(rig):
    frames = cut(frame_of(sctp_oracle.packet(9, 7, data(300))), [10, 20])
    assert rig.exchange(WAN, *frames) == [[], []]
    assert rig.drops() == {"no_service": 1, "frag_refused": 2}


def test_a_duplicate_of_the_first_one_while_it_waits(rig):
    local = opened(rig)
    packet = sctp(data(300))
    first, last = cut(frame_of(packet), [10])
    _, out = rig.exchange(WAN, first, first, last, last)
    assert packet_of(joined(out))[20:] == translated(packet, local)
    # The identification is free again when the last one came: what is behind it waits in vain.
    assert rig.drops() == {"frag_duplicate": 1}
    rig.after(LIFE_MS, rounds=20)
    assert rig.drops() == {"frag_duplicate": 1, "frag_timeout": 1}


# Bounds in number and time


def test_a_first_one_whose_last_does_not_come_is_given_up_in_time(rig):
    opened(rig)
    frames = cut(frame_of(sctp(data(300))), [10, 20])
    rig.exchange(WAN, *frames[:2])
    assert rig.after(LIFE_MS - 1, rounds=20) == [[], []] and rig.waiting() == 2
    rig.after(1, rounds=20)
    assert rig.waiting() == 0 and rig.drops() == {"frag_timeout": 2}
    assert rig.exchange(WAN, frames[2]) == [[], []]  # too late


def test_a_first_one_that_finds_no_room_takes_its_packet_with_it(rig):
    opened(rig)
    first, *others, last = cut(frame_of(sctp(data(900))), range(4, 5 + WAIT_EACH))
    rig.push(WAN, *others, first, last)
    assert rig.run(3) == [[], []]
    assert rig.drops() == {"frag_queue": 1, "frag_refused": WAIT_EACH + 1} and rig.waiting() == 0


@pytest.mark.long
def test_first_ones_do_not_fill_the_pool(rig):
    opened(rig)
    for _ in range(2 * WAIT_ALL):
        rig.exchange(WAN, cut(frame_of(sctp(data(300))), [10])[0])
    assert rig.waiting() <= WAIT_ALL < SETS * WAYS
    assert set(rig.drops()) <= {"frag_queue", "frag_evicted"} and rig.complete()


# A way out that takes less


@pytest.mark.parametrize("flags", ["", "DF"])
def test_rfc791_sctp_packets_beyond_the_mtu(rig, flags):
    local = opened(rig)
    rig.apply("dev.set", id=LAN, mac=MACS[LAN], mtu=1000)
    packet = sctp(data(1300))
    wan, lan = rig.exchange(WAN, frame_of(packet, flags=flags))
    if flags:
        assert lan == [] and wan[0][34:36] == b"\3\4" and rig.drops() == {"ip_too_big": 1}
    else:
        assert wan == [] and [len(raw) - 14 for raw in lan] == [996, 20 + len(packet) - 976]
        assert packet_of(joined(lan))[20:] == translated(packet, local)
