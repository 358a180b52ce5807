"""What ``perf/run`` says to bad input: one line, and an exit status."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from perf import main, replay_cases, traffic
from perf.errors import PerfError

HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
MAC = bytes.fromhex("02aa00000001")


def run(capsys, *words: str) -> tuple[int, str]:
    status = main.main(list(words))
    return status, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["bogus"], 2, "there are"),
        (["replay", "--flows", "0"], 2, "from 1 to"),
        (["replay", "--flows", "1,x"], 2, "not a list of numbers"),
        (["replay", "--mode", "bypass"], 2, "bypass"),
        (["replay", "--mode", "dr", "--both", "--flows", "4"], 1, "leave --both out"),
        (["scale", "--sessions", "100", "--table", "64"], 2, "does not hold"),
        (["scale", "--seconds", "9"], 2, "--seconds"),
        (["replay", "--pcap", "/nonexistent.pcap"], 1, "No such file"),
        (["replay", "--bogus"], 2, "--bogus"),
        (["replay", "--service", "udp:192.0.2.1:80"], 2, "--service is for the packets of --pcap"),
        (["replay", "--pcap", "a.pcap", "--shuffled"], 2, "not for --pcap"),
        (["replay", "--pcap", "a.pcap", "--mode", "nat64"], 1, "takes files of IPv4 packets"),
        (["replay", "--keep", "/proc/none", "--flows", "4"], 1, "/proc/none: No such file"),
        (["replay", "--mode", "tunnel", "--family", "6"], 1, "no IPv6 traffic"),
        (["scale", "--mode", "tunnel", "--family", "6"], 2, "--family 6 is not measured"),
        (["routes", "--routes", "0"], 2, "from 1 to"),
        (["routes", "--routes", "10,many"], 2, "not a list of numbers"),
    ],
)
def test_bad_arguments(capsys, words, status, text):
    got, said = run(capsys, *words)
    assert got == status
    assert said.startswith("perf: ") and text in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not a pcap file"),
        (b"GIF89a" + bytes(40), "not a pcap file"),
        (HEADER, "holds no frames"),
        (HEADER[:20] + struct.pack("<I", 113), "not captured on Ethernet"),
        (HEADER + struct.pack("<IIII", 0, 0, 60, 60) + bytes(10), "cut short"),
        (HEADER + struct.pack("<IIII", 0, 0, 60, 60) + bytes(60), "no IPv4 TCP or UDP"),
    ],
)
def test_bad_captures(capsys, tmp_path, content, text):
    path = tmp_path / "a.pcap"
    path.write_bytes(content)
    status, said = run(capsys, "replay", "--pcap", str(path))
    assert status == 1 and text in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "service", ["udp:1.2.3.4", "sctp:1.2.3.4:5", "udp:1.2.3:80", "udp:1.2.3.4:x"]
)
def test_bad_services(capsys, tmp_path, service):
    path = tmp_path / "a.pcap"
    traffic.write_pcap(path, traffic.forward(np.arange(3), "udp", MAC))
    status, said = run(capsys, "replay", "--pcap", str(path), "--service", service)
    assert status == 1 and "PROTO:ADDRESS:PORT" in said


def test_services_of_a_capture_are_its_destinations(tmp_path):
    path = tmp_path / "a.pcap"
    frames = np.concatenate([
        traffic.forward(np.arange(3), "udp", MAC), traffic.forward(np.arange(2), "tcp", MAC)
    ])  # fmt: skip
    traffic.write_pcap(path, frames)
    case = replay_cases.examine(path, "nat", [])
    assert case.services == [("udp", "192.0.2.100", 80), ("tcp", "192.0.2.100", 80)]
    assert (case.mac, case.frames) == (MAC, 5)


def test_too_many_services_must_be_named(tmp_path):
    path = tmp_path / "a.pcap"
    count = replay_cases.MAX_SERVICES + 1
    ones = np.ones(count, np.uint32)
    ports = np.arange(1, count + 1, dtype=np.uint16)
    traffic.write_pcap(path, traffic.build(ones << 24, ones << 25, ports, ports, "udp", MAC))
    with pytest.raises(PerfError, match="--service"):
        replay_cases.examine(path, "nat", [])


def test_every_benchmark_has_help(capsys):
    for name in main.benchmarks():
        assert main.main([name, "--help"]) == 0
    assert {"replay", "scale", "newconn", "workers", "memory"} <= set(main.benchmarks())
