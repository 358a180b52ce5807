"""The fuzzer of tools/fuzz.py, bounded: the books balance, and they notice when they do not."""

from __future__ import annotations

import random

import pytest
from click.testing import CliRunner
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from ipvs.laddr import LaddrStats
from ipvs.table import Table
from runtime.intrinsics import store8, store64
from runtime.jit import JIT
from stack.drops import DROP_SLOTS
from tools import fuzz_frames as frames
from tools.fuzz import Fuzzer, main, show
from tools.fuzz_checks import check_connections, check_nothing_left, check_packets, live
from tools.fuzz_frames6 import with_sum
from tools.fuzz_mutate import MUTATIONS, ROOM, mutate, repair
from tools.fuzz_related import complaint, complaint6, in_tunnel, pieces
from tools.fuzz_rig import FuzzError, FuzzRig

PACKETS = 20_000 if JIT else 1_500


@pytest.mark.parametrize("seed", [1, 20])
def test_fuzz(seed):
    result = Fuzzer(seed).run(PACKETS // 2)
    assert result.packets >= PACKETS // 2
    assert result.connections > 20 and result.created >= result.connections
    # Deep enough: packets were forwarded, and many different things were wrong.
    assert result.sent > result.packets // 10 and len(result.drops) > 20
    assert "idle_end" in result.drops or not JIT, "no idle connection was told its end"
    assert "icmp_low_mtu" in result.drops or not JIT, "no error about a tunnel was understood"
    six = [name for name in result.drops if name.startswith(("ip6_", "icmp6_", "nd_"))]
    assert len(six) > 12


def test_the_same_seed_gives_the_same_run():
    runs = [Fuzzer(7).run(300) for _ in range(2)]
    assert runs[0].drops == runs[1].drops and runs[0].sent == runs[1].sent


def test_command_line():
    done = CliRunner().invoke(main, ["--packets", "200", "--seed", "3"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("seed 3\n") and "packets in" in done.output
    for wrong in (["--packets", "0"], ["--packets", "x"], ["--seed", "x"], ["--what"]):
        done = CliRunner().invoke(main, wrong)
        assert done.exit_code == 2 and "Error:" in done.output


@pytest.fixture
def fuzzer():
    made = Fuzzer(5)
    while Table(made.rig.table).count < 3:
        made.burst(64)
    return made


def fails(check, fuzzer, told):
    with pytest.raises(FuzzError, match=told):
        check(fuzzer.rig)


def test_a_lost_mbuf_is_noticed(fuzzer):
    fuzzer.rig.pool.take(b"x")
    fails(check_packets, fuzzer, "mbufs out")


def test_an_mbuf_given_back_twice_is_noticed(fuzzer):
    pool = fuzzer.rig.pool
    address = pool.take(b"x")
    pool.give(address)
    pool.give(address)
    with pytest.raises(FuzzError, match="twice"):
        fuzzer.rig.step(0)


def test_a_drop_without_name_is_noticed(fuzzer):
    store64(fuzzer.rig.stack.drops + 8 * (DROP_SLOTS - 1), 1)
    fails(check_packets, fuzzer, "no name")


def test_an_uncounted_drop_is_noticed(fuzzer):
    fuzzer.rig.pool.freed += 1
    fuzzer.rig.pool.allocated += 1
    fails(check_packets, fuzzer, "named")


def test_a_wrong_connection_count_is_noticed(fuzzer):
    Table(fuzzer.rig.table).count += 1
    fails(check_connections, fuzzer, "live entries")


def test_a_lost_port_is_noticed(fuzzer):
    LaddrStats(fuzzer.rig.context.laddr_stats).used += 1
    fails(check_connections, fuzzer, "ports used")


def test_a_connection_missing_from_the_index_is_noticed(fuzzer):
    index = Table(fuzzer.rig.table).index
    for at in range(index.count * 64):
        store8(index.buckets + at, 0)
    fails(check_connections, fuzzer, "references")


def test_a_write_behind_an_mbuf_is_noticed(fuzzer):
    fuzzer.rig.pool.memory[-1] = 0
    fails(check_nothing_left, fuzzer, "behind an mbuf")


def test_a_connection_that_never_expires_is_noticed(fuzzer):
    live(fuzzer.rig)[0].timeout = 1_000_000
    fails(check_nothing_left, fuzzer, "never expire")


@pytest.mark.parametrize("size", [0, 33])
def test_a_runt_that_is_sent_is_noticed(size):
    rig = FuzzRig()
    assert rig.ports[0]._fault(bytes(size))


def test_wrong_frames_are_noticed():
    port = FuzzRig().ports[1]
    good = bytes(Ether(src=frames.MACS[1].hex(":")) / IP() / UDP() / bytes(20))
    assert port._fault(good) == ""
    assert "checksum" in port._fault(good[:24] + b"\0\0" + good[26:])
    assert "MAC" in port._fault(bytes(12) + good[12:])
    assert "IPv6" in port._fault(good[:12] + b"\x86\xdd" + good[14:])
    assert "length" in port._fault(good[:-1])


def test_the_seeds_are_valid_frames():
    rng = random.Random(1)
    for _ in range(300):
        frame = frames.fresh(rng.randrange(2), rng)
        packet = Ether(frame)
        for layer in (IP, TCP, UDP, ICMP):
            if layer in packet and (layer is IP or not (packet[IP].options or ICMP in packet)):
                again = Ether(frame)
                del again[layer].chksum
                # Both 0 and 0xffff stand for zero in one's complement arithmetic.
                assert Ether(bytes(again))[layer].chksum % 0xFFFF == packet[layer].chksum % 0xFFFF


def test_an_answer_turns_the_packet_around():
    rng = random.Random(1)
    sent = bytes(Ether(dst="02:bb:00:00:00:0b") / IP(src="1.2.3.4", dst="5.6.7.8")
                 / TCP(sport=9, dport=80))  # fmt: skip
    packet = Ether(frames.answer(sent, 1, rng))
    assert (packet.dst, packet.src) == (frames.MACS[1].hex(":"), "02:bb:00:00:00:0b")
    assert (packet[IP].src, packet[IP].dst) == ("5.6.7.8", "1.2.3.4")
    assert (packet[TCP].sport, packet[TCP].dport) == (80, 9)
    assert frames.answer(b"short", 0, rng) == b"short"


def test_fragments_and_complaints_take_any_frame():
    rng = random.Random(4)
    for _ in range(300):
        frame = frames.fresh(rng.randrange(2), rng)
        for made in (*pieces(frame, rng), complaint(frame, 0, rng), complaint6(frame, 0, rng)):
            if made[12:14] == b"\x08\x00":
                assert frames.checksum(made[14 : 14 + (made[14] & 15) * 4]) == 0
    for size in (0, 13, 14, 33, 42, 100):
        assert pieces(bytes(size), rng) == [bytes(size)]
        assert complaint(bytes(size), 1, rng) == complaint6(bytes(size), 1, rng) == bytes(size)


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
        made = (complaint if outer is IP else complaint6)(sent, 1, rng)
        assert not in_tunnel(made) and Ether(made).payload.dst == outer(sent[14:]).src
        quoted = made[at + 8 :]
        assert quoted[: at - 14] == sent[14:at][: len(quoted)] or (outer is IP and quoted[9] == 1)
        honest += sent[14:].startswith(quoted)
        if outer is IP:
            assert frames.checksum(made[at:]) == 0
        else:
            assert with_sum(made[22:38], made[38:54], 58, made[at:], 2) == made[at:]
    assert 25 < honest < 50


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_mutations_take_any_frame(mutation):
    rng = random.Random(2)
    for size in (0, 1, 13, 14, 20, 33, 34, 60, 1514):
        for _ in range(5):
            frame = bytearray(rng.randbytes(size))
            mutation(frame, rng)
            repair(frame)


def test_mutated_frames_fit_an_mbuf():
    rng = random.Random(3)
    frame = frames.fresh(0, rng) + bytes(1500)
    assert max(len(mutate(frame, rng)) for _ in range(500)) <= ROOM


def test_report():
    result = Fuzzer(1).result
    result.drops = {"ip_short": 2, "no_service": 30}
    assert show(result).splitlines()[-2:] == ["        30  no_service", "         2  ip_short"]
