"""What the fuzzer sends: right frames, answers, errors, fragments, and mutations of all of them."""

from __future__ import annotations

import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from tests import sctp_oracle
from tests.fragments import joined
from tests.fragments6 import joined6
from tools import fuzz_frames as frames
from tools import fuzz_mutate, fuzz_mutate6, fuzz_pieces
from tools.fuzz_checks import check_nothing_left, check_packets
from tools.fuzz_frames6 import answer6, fresh6, with_sum
from tools.fuzz_mutate import ROOM, mutate, repair
from tools.fuzz_mutate6 import mutate6, repair6
from tools.fuzz_nd import neighbourly
from tools.fuzz_pieces import pieces
from tools.fuzz_related import complaint, in_tunnel
from tools.fuzz_rig import FuzzRig
from tools.fuzz_said import sctp
from tools.fuzz_setup import configure

VIP, VIP6 = "192.0.2.100", "2001:db8:100::100"
CLIENTS = {IP: "198.18.0.2", IPv6: "2001:db8:18::2"}
TARGETS = {IP: VIP, IPv6: VIP6}
MAKERS = (frames.fresh, fresh6, neighbourly)


def is_right(frame):
    """Whether lengths and IPv4 checksum of a frame are (of ARP and other types: always)."""
    if frame[12:14] == b"\x08\x00":
        head = frame[14 : 14 + (frame[14] & 15) * 4]
        return frames.checksum(head) == 0 and len(frame) == 14 + int.from_bytes(frame[16:18], "big")
    if frame[12:14] == b"\x86\xdd" and frame[14] >> 4 == 6:
        return len(frame) == 54 + int.from_bytes(frame[18:20], "big")
    return True


def test_the_seeds_are_valid_frames():
    rng = random.Random(1)
    for _ in range(400):
        frame = rng.choice(MAKERS)(rng.randrange(2), rng)
        assert is_right(frame) and len(frame) <= 1600
        packet = Ether(frame)
        if IPv6 in packet and (packet[IPv6].nh in (0, 43, 44, 51, 60) or packet[IPv6].fl):
            continue
        for layer in (TCP, UDP, ICMP):
            if layer in packet and not ((IP in packet and packet[IP].options) or ICMP in packet):
                again = Ether(frame)
                del again[layer].chksum
                # Both 0 and 0xffff stand for zero in one's complement arithmetic.
                assert Ether(bytes(again))[layer].chksum % 0xFFFF == packet[layer].chksum % 0xFFFF


def test_most_sctp_packets_are_right():
    rng = random.Random(6)
    packets = [sctp(1, 9, rng) for _ in range(200)]
    assert 170 < sum(map(sctp_oracle.is_right, packets)) < 199
    assert max(map(len, packets)) <= 1400 and sum(len(p) < 16 for p in packets) > 3


def test_an_answer_turns_the_packet_around():
    rng = random.Random(1)
    sent = bytes(Ether(dst="02:bb:00:00:00:0b") / IP(src="1.2.3.4", dst="5.6.7.8")
                 / TCP(sport=9, dport=80))  # fmt: skip
    packet = Ether(frames.answer(sent, 1, rng))
    assert (packet.dst, packet.src) == (frames.MACS[1].hex(":"), "02:bb:00:00:00:0b")
    assert (packet[IP].src, packet[IP].dst) == ("5.6.7.8", "1.2.3.4")
    assert (packet[TCP].sport, packet[TCP].dport) == (80, 9)
    assert frames.answer(b"short", 0, rng) == b"short"


@pytest.mark.parametrize("family", [IP, IPv6], ids=["ipv4", "ipv6"])
def test_an_echo_and_an_sctp_packet_are_answered(family):
    rng = random.Random(1)
    macs = Ether(dst="02:bb:00:00:00:0b")
    ask = ICMP(id=7) if family is IP else ICMPv6EchoRequest(id=7)
    turn = frames.answer if family is IP else answer6
    ends = {"src": CLIENTS[family], "dst": TARGETS[family]}
    got = Ether(turn(bytes(macs / family(**ends) / ask / Raw(bytes(30))), 0, rng))
    assert (got[family].src, got[family].dst) == (TARGETS[family], CLIENTS[family])
    assert bytes(got[family].payload)[:1] == (b"\0" if family is IP else b"\x81")
    assert is_right(bytes(got)) and bytes(got).endswith(bytes(30))
    got = Ether(
        turn(bytes(macs / family(**ends) / SCTP(sport=9, dport=80) / Raw(bytes(30))), 0, rng)
    )
    assert (got[SCTP].sport, got[SCTP].dport) == (80, 9)


def test_fragments_and_complaints_take_any_frame():
    rng = random.Random(4)
    for _ in range(400):
        frame = rng.choice(MAKERS)(rng.randrange(2), rng)
        for made in (*pieces(frame, rng), complaint(frame, 0, rng)):
            assert is_right(made)
    for size in (0, 13, 14, 33, 42, 100):
        assert pieces(bytes(size), rng) == [bytes(size)]
        assert complaint(bytes(size), 1, rng) == bytes(size)


@pytest.mark.parametrize("content", [IP, IPv6])
@pytest.mark.parametrize("outer", [IP, IPv6])
def test_complaints_about_tunnels(outer, content):
    """To who sent them, with right checksums; the quotation lies at times."""
    rng = random.Random(6)
    sent = bytes(Ether() / outer() / content() / UDP() / bytes(100))
    assert in_tunnel(sent)
    at = 34 if outer is IP else 54
    honest = 0
    for _ in range(50):
        made = complaint(sent, 1, rng)
        assert not in_tunnel(made) and Ether(made).payload.dst == outer(sent[14:]).src
        quoted = made[at + 8 :]
        assert quoted[: at - 14] == sent[14:at][: len(quoted)] or (outer is IP and quoted[9] == 1)
        honest += sent[14:].startswith(quoted)
        if outer is IP:
            assert frames.checksum(made[at:]) == 0
        else:
            assert with_sum(made[22:38], made[38:54], 58, made[at:], 2) == made[at:]
    assert 25 < honest < 50


def test_fragments_that_do_not_lie_are_the_packet(monkeypatch):
    monkeypatch.setattr(fuzz_pieces, "_lie", lambda *_: None)
    rng, cut = random.Random(8), 0
    for _ in range(300):
        frame = rng.choice((frames.fresh, fresh6))(0, rng)
        made = pieces(frame, rng)
        if len(made) > 1 and frame[12:14] == b"\x08\x00":
            size = (frame[14] & 15) * 4
            assert joined(made)[14 + size :] == frame[14 + size :]
            cut += 1
        elif len(made) > 1 and frame[20] not in (0, 43, 44, 60):
            assert joined6(made) == frame
            cut += 1
    assert cut > 100


def sctp_frame(family, sport):
    """A client's association with the service of FullNAT begins with a large packet."""
    packet = sctp_oracle.packet(sport, 9, sctp_oracle.chunk(1, bytes(400)))
    ends = family(src=CLIENTS[family], dst=TARGETS[family])
    if family is IP:
        ends.id, ends.proto = sport, 132
    else:
        ends.nh = 132
    macs = Ether(src=frames.HOSTS[0].hex(":"), dst=frames.MACS[0].hex(":"))
    return bytes(macs / ends / Raw(packet))


def is_tiny(frame):
    """Whether it is a first fragment of 8 bytes, too small for an SCTP header."""
    if frame[12:14] == b"\x08\x00":
        return len(frame) == 42 and frame[20:22] == b"\x20\0"
    return len(frame) == 70 and frame[56:58] == b"\0\1"


@pytest.fixture
def rig():
    made = FuzzRig()
    configure(made)
    yield made
    check_nothing_left(made)


@pytest.mark.parametrize("family", [IP, IPv6], ids=["ipv4", "ipv6"])
def test_fragments_of_an_sctp_packet_pass(rig, family, monkeypatch):
    monkeypatch.setattr(fuzz_pieces, "_lie", lambda *_: None)
    rng = random.Random(5)
    for sport in range(2000, 2010):
        rig.ports[1].sent.clear()
        made = pieces(sctp_frame(family, sport), rng)
        while any(is_tiny(frame) for frame in made):
            made = pieces(sctp_frame(family, sport), rng)
        rig.ports[0].incoming = [(frame, 1) for frame in made]
        rig.step(1)
        out = [f for f in rig.ports[1].sent if f[20 if family is IPv6 else 23] in (44, 132)]
        assert len(out) == len(made)
        whole = (joined if family is IP else joined6)(out)
        packet = whole[34 if family is IP else 54 :]
        assert sctp_oracle.is_right(packet) and len(packet) == 416 and packet[2:4] == b"\0\x09"
    assert not [name for name in rig.drops() if name.startswith(("frag_", "sctp_"))]


@pytest.mark.parametrize("family", [IP, IPv6], ids=["ipv4", "ipv6"])
def test_every_lie_about_sctp_fragments_is_found_out(rig, family):
    rng = random.Random(5)
    for sport in range(2000, 2100):
        made = pieces(sctp_frame(family, sport), rng)
        rig.ports[0].incoming = [(frame, 1) for frame in made]
        rig.step(50)
        check_packets(rig)
    rig.step(5000)
    told = {name.removeprefix("frag_") for name in rig.drops() if name.startswith("frag_")}
    assert told >= {"duplicate", "overlap", "refused", "form", "tiny", "timeout"}


@pytest.mark.parametrize("family", [fuzz_mutate, fuzz_mutate6], ids=["ipv4", "ipv6"])
def test_mutations_take_any_frame(family):
    rng = random.Random(2)
    for mutation in family.MUTATIONS:
        for size in (0, 1, 13, 14, 20, 33, 34, 54, 60, 1514):
            for _ in range(5):
                frame = bytearray(rng.randbytes(size))
                mutation(frame, rng)
                repair(frame)
                repair6(frame)


@pytest.mark.parametrize("family", [IP, IPv6], ids=["ipv4", "ipv6"])
def test_a_mutated_sctp_packet_gets_its_checksum_back(family):
    frame = bytearray(sctp_frame(family, 5))
    frame[-9] ^= 4
    (repair if family is IP else repair6)(frame)
    assert sctp_oracle.is_right(bytes(frame[34 if family is IP else 54 :]))


def test_mutated_frames_fit_an_mbuf():
    rng = random.Random(3)
    frame = frames.fresh(0, rng) + bytes(1500)
    for change in (mutate, mutate6):
        assert max(len(change(frame, rng)) for _ in range(500)) <= ROOM
