"""The comparison with other balancers: reading wrk, the table, what is missing."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from perf import namespaces, namespaces_needs, namespaces_wrk
from perf.errors import PerfError
from perf.namespaces import KINDS, report_of
from perf.namespaces_wrk import Figures


def test_figures_of_wrk() -> None:
    line = (
        'FIGURES {"requests": 3000, "us": 2000000, "p50": 900.0, "p99": 2500.5, "max": 1e4, '
        '"errors": 2}'
    )
    found = namespaces_wrk.figures(f"Running 2s test\n{line}\nRequests/sec: 1500\n")
    assert found == Figures(1500.0, 0.9, 2.5005, 10.0, 2, 3000)


@pytest.mark.parametrize("text", ["", "unable to connect", "FIGURE {}"])
def test_wrk_without_figures(text: str) -> None:
    with pytest.raises(PerfError, match="wrk gave no figures"):
        namespaces_wrk.figures(text)


def test_table() -> None:
    one = Figures(1000.0, 1.0, 2.0, 3.0, 0, 2000)
    results = {(name, kind): [one, one] for name in ("a", "b") for kind in KINDS}
    report = report_of(results, {"HAProxy": "not installed (Debian package haproxy)"})
    assert [row[0] for row in report.rows] == ["a", "b", "a", "b", "HAProxy"]
    assert report.rows[0][2] == "1,000 / 1,000 / 1,000"
    assert report.rows[4][2] == "not installed (Debian package haproxy)"
    assert report.data[0]["p99_ms"] == [2.0, 2.0, 2.0]


def test_missing_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(namespaces_needs, "MODULES", ())
    absent = namespaces_needs.provide(install=False)
    assert absent["HAProxy"] == "not installed (Debian package haproxy)"
    assert set(absent) == {"nginx stream", "HAProxy", "nftables"}
    result = CliRunner().invoke(namespaces.command, ["--no-install"])
    assert isinstance(result.exception, PerfError)
    assert "apt-get install wrk" in str(result.exception)


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--seconds", "0.5"], ["x"]])
def test_bad_options(words: list[str]) -> None:
    assert CliRunner().invoke(namespaces.command, words).exit_code == 2
