"""The benchmarks themselves, as small as they can be made."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from perf import live, main, replay, report, traffic
from perf.child import in_child
from perf.errors import PerfError
from perf.replay_cases import MAC, generate

# The first process may have to compile the packet path.
pytestmark = [pytest.mark.dpdk, pytest.mark.timeout(400)]
SMALL = ["--rounds", "2", "--seconds", "0.02"]


@pytest.fixture(autouse=True)
def out(tmp_path, monkeypatch):
    """Results go elsewhere."""
    monkeypatch.setattr(report, "OUT", tmp_path / "out")
    return tmp_path / "out"


def results(out, name):
    (path,) = out.glob(f"{name}-*.json")
    assert path.with_suffix(".txt").exists()
    return json.loads(path.read_text())["results"]


@pytest.mark.parametrize(
    "words",
    [
        ["--mode", "fullnat", "--both", "--shuffled"],
        ["--mode", "nat", "--proto", "tcp", "--both"],
        ["--mode", "dr", "--proto", "tcp"],
        ["--mode", "snat", "--both"],
    ],
)
def test_replay(capsys, out, words):
    assert main.main(["replay", "--flows", "100", "--table", "4096", *words, *SMALL]) == 0
    (row,) = results(out, "replay")
    assert row["connections"] == 100 and row["compared"] > 1000
    assert row["mpps"][0] > 0 and row["total"][1] > row["source"][0] > 0
    text = capsys.readouterr().out
    assert "Cycles a packet by stage" in text and "Linux" in text


@pytest.mark.parametrize(
    ("mode", "proto", "family"), [("nat64", "udp", 6), ("nat64", "tcp", 6), ("nat", "tcp", 6)]
)
def test_files_of_other_families(tmp_path, mode, proto, family):
    case = generate(tmp_path, 100, mode, proto, False, True, 4096, family)
    job = {
        "pcap": str(case.path), "mode": mode, "services": case.services, "mac": case.mac.hex(),
        "family": family, "table": 4096, "frames": case.frames,
    }  # fmt: skip
    found = in_child("tests.perf.broken:replayed", job)
    assert found == {"compared": 32 * 32, "connections": 100}


def test_replay_of_a_given_file(out, tmp_path):
    path = tmp_path / "a.pcap"
    traffic.write_pcap(path, traffic.forward(np.arange(50), "udp", MAC))
    assert main.main(["replay", "--pcap", str(path), "--table", "4096", *SMALL]) == 0
    assert results(out, "replay")[0]["connections"] == 50


def test_a_lost_packet_shows_no_rate(capsys, out, tmp_path):
    frames = traffic.forward(np.arange(50), "udp", MAC)
    frames[7, 24] ^= 1  # IPv4 header checksum
    path = tmp_path / "a.pcap"
    traffic.write_pcap(path, frames)
    assert main.main(["replay", "--pcap", str(path), "--table", "4096", *SMALL]) == 1
    said = capsys.readouterr().err
    assert "packets were lost" in said and "ip_checksum" in said and not out.exists()


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("wrong_mac", "wrong output|wrong route|no .* forwarding"),
        ("wrong_statistics", "lost"),
        ("crash", "signal 9"),
    ],
)
def test_broken_work_is_noticed(tmp_path, monkeypatch, function, text):
    case = generate(tmp_path, 64, "fullnat", "udp", False, False, 4096)

    def broken(_, job):
        return in_child(f"tests.perf.broken:{function}", job)

    monkeypatch.setattr(replay, "in_child", broken)
    with pytest.raises(PerfError, match=text):
        replay.measure(case, 4096, 1, 0.02, None)


def test_scale(out):
    words = ["--sessions", "64,500", "--mode", "nat", "--proto", "udp", "--features", "on"]
    assert main.main(["scale", *words, *SMALL]) == 0
    rows = results(out, "scale")
    assert [row["sessions"] for row in rows] == [64, 500]
    assert all(row["compared"] > 1000 and row["own"][0] > 0 for row in rows)


@pytest.mark.parametrize(
    ("mode", "proto", "family"), [("snat", "tcp", 4), ("snat", "udp", 6), ("nat64", "udp", 6)]
)
def test_other_modes_over_live_sessions(mode, proto, family):
    """Every packet of the sample equals the oracle's; features are on in the connections."""
    job = {"mode": mode, "proto": proto, "family": family, "table": 500, "sessions": 300}
    found = in_child("tests.perf.broken:sampled", {**job, "features": list(live.FEATURES)})
    assert found["compared"] == 16 * 32 and found["quiescent"] == 300
    plain = in_child("tests.perf.broken:sampled", job)
    assert plain["quiescent"] == 0


@pytest.mark.parametrize("mode", ["fullnat", "snat", "nat64"])
def test_filling_a_table(mode):
    result = in_child("perf.fill_run:fill", {"mode": mode, "proto": "udp", "table": 6400})
    assert len(result["tenths"]) == 10 and result["whole"] > 0 and result["memory"] > 1 << 20


def test_ports_come_back(out):
    assert main.main(["ports", "--connections", "6400"]) == 0
    (row,) = results(out, "ports")
    assert row["opened"] == row["expired"] == 6400 and row["entries"] == 0
    assert row["free"] == row["ports"] > 1_000_000


def test_schedulers(out):
    assert main.main(["schedulers", "--rounds", "2"]) == 0
    rows = results(out, "schedulers")
    assert [row["scheduler"] for row in rows] == ["rr", "wrr", "wlc", "conhash", "mh", "fo", "own"]
    assert rows[0]["ratio"] == [1, 1, 1] and all(row["cycles"][0] > 0 for row in rows)


def test_routes(out):
    words = ["--routes", "10,3000", "--rounds", "2", "--master", "3000"]
    assert main.main(["routes", *words]) == 0
    *rows, four, six = results(out, "routes")
    assert [(row["version"], row["routes"]) for row in rows] == [
        (4, 10), (4, 3000), (6, 10), (6, 3000)
    ]  # fmt: skip
    assert all(row["cycles"][0] > 0 and row["compared"] == 600 for row in rows)
    assert all(row["updates"] > 0 and row["records"] > 0 for row in rows)
    for row, version in ((four, 4), (six, 6)):
        assert (row["version"], row["routes"], row["compared"]) == (version, 3000, 2400)
        assert all(len(part) == 2 for part in (*row["snapshot"], *row["near"], *row["far"]))
    text = next(out.glob("routes-*.txt")).read_text()
    assert "snapshot of 3,000 IPv6 routes to a restarted worker" in text
    assert "address added beside 3,000 IPv4 routes, on another device" in text


def test_a_wrong_route_is_noticed():
    with pytest.raises(PerfError, match="takes route"):
        in_child("tests.perf.broken:wrong_route", {"version": 6, "routes": 100})


def test_workers(out):
    words = ["--sessions", "100", "--rounds", "20", "--seconds", "0.02"]
    assert main.main(["workers", *words]) == 0
    (row,) = results(out, "workers")
    assert row["one"][1] > 0 and row["two"][1] > 0


def test_nothing_is_left_of_a_measuring_process_that_died():
    with pytest.raises(PerfError, match="signal 9"):
        in_child("tests.perf.broken:crash_late", {"mode": "dr", "proto": "udp", "table": 640})
    assert list(Path("/var/run/dpdk").glob(f"dpvs_perf{os.getpid()}-*")) == []


def test_a_table_too_small_for_a_steady_rate_shows_what_was_filled(out, capsys):
    words = ["newconn", "--mode", "dr", "--table", "6400", "--fills", "1", "--rounds", "1"]
    assert main.main(words) == 1
    said = capsys.readouterr()
    assert "full before as many connections expire" in said.err and "Traceback" not in said.err
    assert "No steady rate of udp dr" in said.out
    (row,) = results(out, "newconn")
    assert row["kind"] == "fill" and row["whole"][0] > 0
