"""Judging rounds, tables and models: without DPDK."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf import report, workers
from perf.churn_run import Slice, balanced, swings
from perf.errors import PerfError
from perf.newconn import SMALLEST, add_fill, steady_row
from perf.rounds import AT_LEAST, spread, undisturbed


class FakeWatch:
    """A watch whose rounds are disturbed as told."""

    def __init__(self, troubles):
        self.troubles, self.trouble = iter(troubles), ""
        self.crowded, self.crowded_rounds = True, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.trouble = next(self.troubles, "stolen")


def test_disturbed_rounds_are_repeated():
    values = iter(range(100))
    watch = FakeWatch(["", "stolen", "stolen", "", ""])
    assert undisturbed(watch, 3, lambda: next(values)) == [0, 3, 4]
    assert watch.crowded_rounds == 3


def test_too_many_disturbed_rounds_show_no_rate():
    with pytest.raises(PerfError, match=f"only 1 of {AT_LEAST} rounds.*stolen.*no rate"):
        undisturbed(FakeWatch([""]), 5, lambda: 1)


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_spread_is_ordered(values):
    low, middle, high = spread(values)
    assert low <= middle <= high and low in values and high in values


def test_whole_swings_are_found():
    wave = [100, 60, 20, 60, 100, 140, 180, 140] * 4
    found = swings(wave)
    assert len(found) == 3
    assert all(wave[a] >= 100 and wave[b] >= 100 and b - a == 8 for a, b in found)
    assert swings([5] * 10) == []


def test_only_balanced_and_undisturbed_stretches_count():
    good = Slice(cycles=300.0, making=100.0, opened=10, expired=10, live=50, trouble="")
    assert set(balanced([good] * 20)) == {20.0}
    unbalanced = Slice(300.0, 100.0, 10, 5, 50, "")
    spoilt = Slice(300.0, 100.0, 10, 10, 50, "stolen")
    assert list(balanced([unbalanced] * 20)) == []
    assert list(balanced([spoilt] * 20)) == []


def worker(alone, both, trouble=""):
    def rounds(cost, trouble):
        one = {"total": cost + 50, "source": 50, "line": 10.0, "crowded": False}
        return [{**one, "trouble": trouble}] * 5

    return {"alone": rounds(alone, ""), "both": rounds(both, trouble), "hz": 1e9, "compared": 3}


def test_two_workers_are_added_up():
    result = workers.compare([worker(100, 125)] * 2)
    assert result["one"][1] == pytest.approx(10)
    assert result["two"][1] == pytest.approx(16)
    assert result["scaling"][1] == pytest.approx(1.6)
    assert result["lines_two"] == pytest.approx(200)
    assert workers.model(10, 1.6)[:2] == pytest.approx([10, 16])
    assert workers.model(10, 2.1)[-1] == pytest.approx(160)


def test_workers_without_enough_rounds_show_no_rate():
    with pytest.raises(PerfError, match=r"only 0 of 5.*stolen"):
        workers.compare([worker(100, 100), worker(100, 100, "stolen")])


def test_tables_of_new_connections():
    made = report.Report("newconn", ["h"] * 7, about={"date": "2026-01-02"})
    result = {
        "tenths": [[1.0, 2.0, 3.0]] * 10, "whole": [1.0, 2.0, 3.0], "cycles": [1.0, 2.0, 3.0],
        "bytes": None,
    }  # fmt: skip
    add_fill(made, "udp nat", result)
    add_fill(made, "udp nat", {**result, "bytes": [150.0, 156.7, 160.0]})
    assert [row[-1] for row in made.rows] == ["too few", "156.7"]
    steady = {"rounds": 5, "per_second": [1e6] * 3, "own": [2.0] * 3, "live": [3.0] * 3}
    assert steady_row("x", steady)[2] == "1.00 / 1.00 / 1.00"
    assert SMALLEST % 32 == 0


def test_reports_are_written_for_people_and_machines(tmp_path):
    made = report.Report("x", ["case", "Mpps"])
    made.add(["a", report.trio([1, 2, 30], 1)], {"case": "a", "compared": 7, "crowded": 2,
                                                "memory": [250.0, 30.0, 31.0]})  # fmt: skip
    made.table("More:", ["k", "v"], [["long name", "1"]])
    made.check_notes("as told", 5)
    path = made.save(tmp_path)
    text = path.read_text()
    assert "1.0 / 2.0 / 30.0" in text and "7 packets equal" in text and "2 of 5 rounds" in text
    assert "250 cycles away" in text and "Linux" in text
    data = json.loads(path.with_suffix(".json").read_text())
    assert data["results"][0]["case"] == "a" and data["machine"]["cpus"] >= 1


def test_columns_line_up():
    lines = report.grid(["a", "b"], [["x", "1"], ["longer", "22"]])
    assert len({len(line) for line in lines}) == 1
