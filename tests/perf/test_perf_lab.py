"""``perf/run lab``: judging what was measured; the clients against a real echo server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from perf import lab, lab_clients, lab_requests
from perf.errors import PerfError
from perf.lab import Row, report_of
from perf.lab_requests import Load
from perf.lab_times import outage
from perf.namespaces_wrk import Figures
from tools import lab_echo, lab_needs


def line(begin: float, end: float, answered: float = 20.0, error: str = "") -> dict[str, Any]:
    return {"server": "rs1", "longest": (begin, end), "answered": answered, "error": error}


def test_outage_is_the_last_connections() -> None:
    lines = [line(9.99, 10.7), line(9.98, 11.5), line(3.0, 3.4)]
    seconds, wrong = outage(lines, 10.0)
    assert seconds == pytest.approx(1.5) and wrong == []


def test_connections_that_do_not_go_on_are_failures() -> None:
    lines = [line(9, 9.1, error="Connection reset by peer"), line(9.99, 10.7), line(1, 2, 9.99)]
    _, wrong = outage(lines, 10.0)
    assert wrong == ["rs1: Connection reset by peer", "rs1: silent after the kill"]


def test_table() -> None:
    rows = [
        Row("a", [900.0, 1000.0, 1300.0], "requests/s", "3,000 requests"),
        Row("b", [900.0, 1000.0], "requests/s", "2,000 requests", failed=2),
        Row("c", [1.0, 2.004], "s", "2 starts", limit=2.0),
        Row("d", [1.0, 1.5], "s", "2 kills", limit=2.0),
    ]
    report = report_of(rows)
    assert report.rows[0][1:] == [
        "900 / 1,000 / 1,300", "requests/s", "3,000 requests", "0", "none fails: met",
    ]  # fmt: skip
    assert report.rows[1][1] == "failed" and report.rows[1][5] == "none fails: MISSED"
    assert report.data[1]["values"] is None
    assert report.rows[2][1] == "1.00 / 1.50 / 2.00" and report.rows[2][5] == "2 s: MISSED"
    assert [row.met for row in rows] == [True, False, False, True]


def test_rounds_go_on_until_there_were_enough_requests() -> None:
    load = Load()
    for number in range(4):
        assert load.enough(3500) is False, number
        load.add(Figures(500.0, 1.0, 2.0, 3.0, 1, 1000))
    assert load.enough(3500) and not load.enough(5000)
    assert (load.requests, load.failed, len(load.rates)) == (4000, 4, 4)
    assert not Load([1.0, 2.0], 10**6).enough(10)  # a few rounds at least
    with pytest.raises(PerfError, match="10 of 11 requests in 200 rounds"):
        Load([1.0] * lab_requests.AT_MOST, 10).enough(11)


def test_connections_are_as_many_and_as_equal_as_they_should() -> None:
    assert lab_requests.check([10, 10, 9], [20, 20, 20], 30, 1) == 31
    with pytest.raises(PerfError, match="31 new connections were counted instead of 32"):
        lab_requests.check([10, 10, 9], [20, 20, 20], 32, 1)
    with pytest.raises(PerfError, match=r"unequal shares of 30 connections: \[11, 10, 9\]"):
        lab_requests.check([0, 0, 0], [11, 10, 9], 30, 1)


@pytest.mark.parametrize("words", [["--part", "x"], ["--cold", "0"], ["--kills", "-1"], ["x"]])
def test_bad_options(words: list[str]) -> None:
    assert CliRunner().invoke(lab.command, words).exit_code == 2


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_needs, "lab_missing", lambda: ["not root"])
    monkeypatch.setattr(lab_needs, "dpdk_missing", lambda: [])
    result = CliRunner().invoke(lab.command, ["--part", "kills"])
    assert isinstance(result.exception, PerfError)
    assert str(result.exception) == "lab cannot run here: not root"


def test_clients_of_an_echo_server() -> None:
    """Both clients over loopback: an answer is timed, lines are checked and counted."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    server = [sys.executable, "-P", lab_echo.__file__, "rs1", "--tcp", port, "--udp", port]

    def client(*words: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-P", str(Path(lab_clients.__file__)), *words]
        return subprocess.Popen(argv, stdin=-1, stdout=-1, text=True)

    with subprocess.Popen(server) as echo:
        try:
            with client("probe", "127.0.0.1", port) as probe:
                output, _ = probe.communicate("\n")
            assert json.loads(output.splitlines()[1])["answered"] > 0
            while True:
                with socket.socket() as sock:
                    if sock.connect_ex(("127.0.0.1", int(port))) == 0:
                        break
            with client("hold", "127.0.0.1", port, "2") as hold:
                assert hold.stdout is not None and hold.stdin is not None
                assert json.loads(hold.stdout.readline()) == {"connected": ["rs1", "rs1"]}
                with pytest.raises(subprocess.TimeoutExpired):
                    hold.wait(1)
                output, _ = hold.communicate("\n")
            for row in json.loads(output)["lines"]:
                assert row["error"] == "" and row["number"] > 3
                assert row["longest"][0] < row["longest"][1] <= row["answered"]
        finally:
            echo.kill()
