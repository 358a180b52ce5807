"""``dpvs top``: what it makes of two readings, and how it ends."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli_fakes import FakeTransport
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tools import top as top_module
from tools.client import ControlError, DaemonDown
from tools.top import page, run, screen, top, watch
from tools.top_sample import Sample, compare, read
from tools.top_view import render, scaled

STAGES = ["receive", "classify"]
ROOT = Path(__file__).resolve().parents[2]


def replies(packets: int = 0) -> dict[str, object]:
    """What a daemon with two workers and two ports answers after so many packets on each worker."""
    counters = {
        "drop_no_route": packets // 10, "drop_ttl": 0, "tx_dropped": 0, "handed_in": packets,
        "handed_out": 2 * packets, "busy_cycles": packets * 100, "idle_cycles": packets * 300,
        "longest_excursion_cycles": 25000, "connections": 7, "cycles_receive": packets * 30,
        "cycles_classify": packets * 12, "cycles_packets": packets,
    }  # fmt: skip
    workers = [
        {"cid": cid, "state": "up", "pid": 9, "last_exit": None, "pktburst": packets,
         "zpktburst": packets // 4, "ipackets": packets, "opackets": packets - 1 if packets else 0}
        for cid in (1, 2)
    ]  # fmt: skip
    stats = {"ipackets": packets, "opackets": packets - 1 if packets else 0, "ibytes": 60 * packets,
             "obytes": 60 * packets, "imissed": packets // 2}  # fmt: skip
    return {
        "accounting": {"hz": 2_500_000_000, "stages": STAGES},
        "counters": {"workers": [{"cid": cid, "counters": counters} for cid in (1, 2)]},
        "link_show": [{"name": f"dpdk{i}", "stats": stats} for i in (0, 1)],
        "status": {"name": "try", "uptime": 5, "workers": workers},
    }


def sample(packets: int, at: float) -> Sample:
    return replace(read(FakeTransport(**replies(packets)), True), at=at)


def test_reading_asks_for_what_it_shows() -> None:
    transport = FakeTransport(**replies(10))
    first = read(transport, True)
    assert transport.calls == [
        ("accounting", {"on": True}), ("counters", {}),
        ("link.show", {"dev": None, "stats": True, "verbose": False}), ("status", {}),
    ]  # fmt: skip
    assert (first.name, first.uptime, first.hz, first.stages) == ("try", 5, 25 * 10**8, (*STAGES,))
    assert first.workers[2]["ipackets"] == 10 and first.ports["dpdk1"]["ibytes"] == 600
    read(transport, None)
    assert transport.calls[4] == ("accounting", {})


def test_rates_between_two_readings() -> None:
    view = compare(sample(1000, 10.0), sample(3000, 12.0))
    one, two = view.workers
    assert (one.cid, two.cid, one.state) == (1, 2, "up")
    assert one.load == pytest.approx(0.25)
    assert (one.packets_in, one.packets_out) == (1000.0, 1000.0)
    assert (one.busy_polls, one.idle_polls) == (750.0, 250.0)
    assert (one.handed_in, one.handed_out) == (1000.0, 2000.0)
    assert one.stages == {"receive": 30.0, "classify": 12.0}
    assert one.excursion_us == pytest.approx(10.0)
    assert one.drops["no_route"] == 100.0 and one.drop_totals["no_route"] == 300
    total = view.total
    assert (total.packets_in, total.connections, total.load) == (2000.0, 14, pytest.approx(0.25))
    assert total.excursion_us == pytest.approx(10.0)
    assert total.stages == one.stages
    assert (view.ports[0].packets_in, view.ports[0].bytes_out) == (1000.0, 60000.0)
    assert view.ports[0].lost == 500.0
    assert view.port_total.packets_in == total.packets_in
    assert view.port_total.total_in == total.total_in == 6000
    assert view.port_total.total_out == total.total_out == 5998


def test_a_replaced_worker_gives_no_negative_rates() -> None:
    view = compare(sample(3000, 1.0), sample(100, 2.0))
    assert view.workers[0].packets_in == 0 and view.workers[0].total_in == 100
    assert view.workers[0].stages is None
    new = compare(replace(sample(1, 1.0), workers={}, ports={}), sample(5, 1.0))
    assert new.workers[0].packets_in >= 5


def test_totals_beside_a_replaced_worker_and_port_are_sums() -> None:
    old, new = sample(10**6, 1.0), sample(10**6 + 500, 2.0)
    fresh = sample(100, 2.0)
    mixed = replace(
        new, workers={1: fresh.workers[1], 2: new.workers[2]},
        ports={"dpdk0": fresh.ports["dpdk0"], "dpdk1": new.ports["dpdk1"]},
    )  # fmt: skip
    view = compare(old, mixed)
    assert [w.packets_in for w in view.workers] == [0, 500] and view.total.packets_in == 500
    assert view.total.load == pytest.approx(0.25) and view.total.stages == view.workers[1].stages
    assert view.total.drops["no_route"] == 50 and view.total.total_in == 10**6 + 600
    assert view.port_total.packets_in == 500 and view.port_total.bytes_in == 30000
    assert view.port_total.total_in == 10**6 + 600


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.floats(0.001, 10))
def test_totals_are_sums(before: int, more: int, seconds: float) -> None:
    view = compare(sample(before, 0.0), sample(before + more, seconds))
    total = sum(w.packets_in for w in view.workers)
    assert view.total.packets_in == pytest.approx(total)
    assert view.port_total.packets_in == pytest.approx(total)
    assert sum(w.total_out for w in view.workers) == view.port_total.total_out
    for block in render(view, True):
        assert all(line == line.rstrip() for line in block)


@given(st.floats(0, 1e13))
def test_scaled_rates_are_short_and_right(value: float) -> None:
    text = scaled(value)
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1], 1.0)
    number = float(text.rstrip("kMG")) * factor
    assert abs(number - value) <= max(0.51, value * 0.01)
    assert len(text) <= 6


def test_blocks() -> None:
    blocks = render(compare(sample(1000, 10.0), sample(3000, 12.0)), True)
    assert blocks[0] == ["dpvs try: up 5 s, over the last 2.0 s"]
    assert blocks[1][1].split()[:4] == ["1", "25.0%", "1.000k", "1.000k"]
    assert [line.split()[0] for line in blocks[1][1:]] == ["1", "2", "all"]
    assert blocks[2][0].split()[-3:] == ["receive", "classify", "sum"]
    assert blocks[2][3].split() == ["all", "30.0", "12.0", "42.0"]
    assert [line.split()[0] for line in blocks[3][1:]] == ["dpdk0", "dpdk1", "total"]
    assert blocks[4][1].split() == ["no_route", "200", "600"]
    assert len(blocks[4]) == 2  # what was never dropped is not listed
    without = render(compare(sample(5, 1.0), sample(5, 2.0)), False)
    assert len(without) == 4 and without[3] == ["no packet was dropped"]
    idle = render(compare(sample(5, 1.0), sample(5, 2.0)), True)
    assert idle[2][1].split() == ["1", "-", "-", "-"]


def test_screen_fits_the_terminal() -> None:
    text = screen([["title"], ["head", "x" * 99, "y"]], columns=20, rows=5)
    assert text.startswith("\x1b[H\x1b[1mtitle\x1b[0m\x1b[K\r\n\x1b[K\r\n\x1b[1mhead\x1b[0m")
    assert text.endswith(f"{'x' * 20}\x1b[K\r\n\x1b[J") and text.count("\r\n") == 4
    assert page([["a", "b"], ["c"]]) == "a\nb\n\nc\n\n"


def test_accounting_is_switched_off_at_the_end() -> None:
    shown: list[object] = []
    transport = FakeTransport(**replies(10))
    watch(transport, shown.append, 2, 0.5, True, lambda seconds: None)
    assert len(shown) == 2
    switches = [fields for kind, fields in transport.calls if kind == "accounting"]
    assert switches == [{"on": True}] * 3 + [{"on": False}]
    quiet = FakeTransport(**replies(10))
    watch(quiet, shown.append, 1, 0.5, False, lambda seconds: None)
    assert all("on" not in fields for _, fields in quiet.calls)


def test_accounting_is_switched_off_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    transport = FakeTransport(**replies(10))
    monkeypatch.setattr(top_module.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        watch(transport, lambda blocks: None, None, 1.0, True, interrupted)
    assert transport.calls[-1] == ("accounting", {"on": False})


@pytest.mark.parametrize(
    "problem", [DaemonDown("no answer"), ControlError(-14, "not support", "no such request")]
)
def test_failures_are_one_sentence(problem: Exception) -> None:
    transport = FakeTransport(**{**replies(1), "status": problem})
    assert run(transport, 1, 0.05, True) == str(problem)
    assert transport.calls[-1] == ("accounting", {"on": False})


def test_full_screen_is_left_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    transport = FakeTransport(**{**replies(1), "status": DaemonDown("gone")})
    assert run(transport, None, 0.05, True) == "gone"
    assert out.getvalue() == top_module.ENTER + top_module.LEAVE


@pytest.mark.parametrize(
    "words",
    [["-n", "0"], ["--interval", "0"], ["--interval", "x"], ["--once", "-n", "2"], ["more"],
     ["--no-such"]],
)  # fmt: skip
def test_bad_options(words: list[str]) -> None:
    result = CliRunner().invoke(top, words)
    assert result.exit_code == 2 and "Error: " in result.output


def test_no_daemon(tmp_path: Path) -> None:
    environment = {**os.environ, "DPVS_SOCKET": str(tmp_path / "none.sock")}
    done = subprocess.run(
        [sys.executable, "-m", "tools.dpvs", "top", "--once"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"dpvs: {tmp_path}/none.sock: No such file or directory\n"
    done = subprocess.run(
        [sys.executable, "-m", "tools.dpvs", "top", "--name", "a/b"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.startswith("dpvs: 'a/b' cannot name a dpvs")
