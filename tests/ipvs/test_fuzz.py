"""The fuzzer of tools/fuzz.py, bounded: the books balance, and they notice when they do not.

What its frames are made of: tests/ipvs/test_fuzz_frames.py.
"""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from ipvs.datagrams import Datagrams
from ipvs.laddr import LaddrStats
from ipvs.table import Table
from runtime.intrinsics import store8, store64
from runtime.jit import JIT
from stack.drops import DROP_SLOTS
from tests.audit import audit
from tools import fuzz_frames as frames
from tools.fuzz import Fuzzer, main, show
from tools.fuzz_checks import check_connections, check_nothing_left, check_packets, live
from tools.fuzz_rig import FuzzError, FuzzRig
from tools.fuzz_services import SERVICES

PACKETS = 20_000 if JIT else 1_500


@pytest.mark.parametrize("seed", [1, 20])
def test_fuzz(seed):
    fuzzer = Fuzzer(seed)
    result = fuzzer.run(PACKETS // 2)
    assert result.packets >= PACKETS // 2
    assert result.connections > 20 and result.created > 20
    # Deep enough: packets were forwarded, and many different things were wrong.
    assert result.sent > result.packets // 10 and len(result.drops) > 20
    assert "idle_end" in result.drops or not JIT, "no idle connection was told its end"
    assert "icmp_low_mtu" in result.drops or not JIT, "no error about a tunnel was understood"
    six = [name for name in result.drops if name.startswith(("ip6_", "icmp6_", "nd_"))]
    assert len(six) > 12
    parts = [name for name in result.drops if name.startswith(("frag_", "sctp_", "mld_"))]
    assert len(parts) > 10 or not JIT
    assert audit(fuzzer.rig.address) == []
    # Services of every kind had connections, but one without real servers, one without local
    # addresses.
    idle = [str(kind) for number, kind in enumerate(SERVICES) if number not in result.opened]
    assert idle == ["tcp:83 fullnat 44", "tcp:84 fullnat 44"] or not JIT
    assert f"no connection of: {', '.join(idle)}" in show(result)


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


def test_a_lost_connection_of_a_datagram_is_noticed(fuzzer):
    Datagrams(fuzzer.rig.context.datagrams).kept += 1
    fails(check_connections, fuzzer, "1 connections kept, 0 found")


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
    fails(check_connections, fuzzer, "entries in use")


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


def test_report():
    result = Fuzzer(1).result
    result.drops = {"ip_short": 2, "no_service": 30}
    assert show(result).splitlines()[-2:] == ["        30  no_service", "         2  ip_short"]
