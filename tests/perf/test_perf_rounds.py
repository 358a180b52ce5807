"""Judging rounds, tables and models: without DPDK."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf import fill_run, report, workers
from perf.churn_run import Slice, at_best, balanced, swings
from perf.errors import PerfError
from perf.newconn import SMALLEST, add_fill, steady_row
from perf.options import KEEP
from perf.rounds import AT_LEAST, spread, undisturbed
from perf.watch import Watch


class FakeWatch:
    """A watch whose rounds are disturbed as told."""

    def __init__(self, troubles):
        self.troubles, self.trouble = iter(troubles), ""
        self.crowded, self.crowded_rounds, self.set_aside = False, 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        trouble = next(self.troubles, "stolen")
        self.crowded = trouble == "crowded"
        self.trouble = "" if self.crowded else trouble


@pytest.fixture
def choosing(monkeypatch):
    monkeypatch.delenv(KEEP)


def test_disturbed_rounds_are_repeated(choosing):
    values = iter(range(100))
    watch = FakeWatch(["", "stolen", "stolen", "", ""])
    assert undisturbed(watch, 3, lambda: next(values)) == [0, 3, 4]
    assert (watch.crowded_rounds, watch.set_aside) == (0, 0)


def test_crowded_rounds_are_set_aside(choosing):
    values = iter(range(100))
    watch = FakeWatch(["", "crowded", "stolen", "crowded", "", ""])
    assert undisturbed(watch, 3, lambda: next(values)) == [0, 4, 5]
    assert (watch.crowded_rounds, watch.set_aside) == (0, 2)


def test_crowded_rounds_come_in_for_what_is_lacking(choosing):
    values = iter(range(100))
    watch = FakeWatch(["crowded", "stolen", "", "crowded", "crowded", "crowded"])
    assert undisturbed(watch, 3, lambda: next(values), attempts=6) == [2, 0, 3]
    assert (watch.crowded_rounds, watch.set_aside) == (2, 2)


def test_any_round_that_was_not_disturbed_counts_on_any_machine():
    values = iter(range(100))
    watch = FakeWatch(["crowded", "", "crowded"])
    assert undisturbed(watch, 3, lambda: next(values)) == [1, 0, 2]


def test_too_many_disturbed_rounds_show_no_rate(choosing):
    with pytest.raises(PerfError, match=f"only 1 of {AT_LEAST} rounds.*stolen.*no rate"):
        undisturbed(FakeWatch([""]), 5, lambda: 1)


@pytest.mark.parametrize("kept", [False, True])
def test_a_round_on_a_slow_core_counts_if_it_is_to(monkeypatch, kept):
    monkeypatch.setenv(KEEP, "1" if kept else "")
    monkeypatch.setattr(Watch, "_probe", lambda self: (1.0, 1.0))
    monkeypatch.setattr("perf.watch.SHARE", 0.0)  # whatever else runs here
    monkeypatch.setattr("perf.watch.steal_seconds", lambda cpu: 0.0)
    watch = Watch(0)
    with watch:
        monkeypatch.setattr(Watch, "_probe", lambda self: (3.0, 1.0))
    assert watch.crowded and bool(watch.trouble) != kept
    assert kept or watch.trouble == "cpu 0 ran 3.00 times slower than at its fastest"


@pytest.mark.parametrize("kept", [False, True])
def test_a_report_says_that_disturbed_rounds_count(monkeypatch, kept):
    monkeypatch.setenv(KEEP, "1" if kept else "")
    made = report.Report("newconn", ["h"])
    assert ("--keep-disturbed" in made.text()) == kept


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


@pytest.mark.parametrize("steady", [False, True])
def test_the_cost_of_opening_and_expiring_at_best_is_found(steady):
    def one(opened, expired, slower=1, trouble=""):
        cycles = slower * (100 * opened + 50 * expired) + 7 * opened
        return Slice(cycles, 7 * opened, opened, expired, 0, trouble, slower > 1)

    expired = [1000] * 60 if steady else [n % 7 * 300 for n in range(60)]
    done = [one(1000, gone) for gone in expired]
    noise = [one(1000, 5, slower=3), one(1000, 5000, trouble="stolen")] * 30
    assert at_best(done + noise) == pytest.approx(150)
    assert at_best(done[:19] + noise) is None


@pytest.mark.parametrize("crowded", ["010", "111"])
def test_parts_of_a_fill_with_the_core_at_its_best_count(crowded):
    costs = zip((50.0, 40.0, 30.0), crowded, strict=True)
    done = [(3, cost, 10.0, slow == "1") for cost, slow in costs]
    best, slow = fill_run.at_best([*done, (4, 1.0, 0.0, False)], 3)
    assert slow == (crowded == "111")
    assert sorted(best) == ([20.0, 40.0] if not slow else [20.0, 30.0, 40.0])


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
    steady = {"rounds": 5, "per_second": [1e6] * 3, "own": [2.0] * 3, "live": [3.0] * 3,
              "hz": 1e9, "best": None}  # fmt: skip
    assert steady_row("x", steady)[2::2] == ["1.00 / 1.00 / 1.00", "too seldom"]
    assert steady_row("x", {**steady, "best": 500.0})[4] == "2.00 (500)"
    assert SMALLEST % 32 == 0


def test_reports_are_written_for_people_and_machines(tmp_path):
    made = report.Report("x", ["case", "Mpps"])
    made.add(["a", report.trio([1, 2, 30], 1)], {
        "case": "a", "compared": 7, "crowded": 2, "set_aside": 9, "memory": [250.0, 30.0, 31.0],
    })  # fmt: skip
    made.table("More:", ["k", "v"], [["long name", "1"]])
    made.check_notes("as told", 5)
    path = made.save(tmp_path)
    text = path.read_text()
    assert "1.0 / 2.0 / 30.0" in text and "7 packets equal" in text and "2 of 5 rounds" in text
    assert "9 more rounds were set aside" in text
    assert "250 cycles away" in text and "Linux" in text
    data = json.loads(path.with_suffix(".json").read_text())
    assert data["results"][0]["case"] == "a" and data["machine"]["cpus"] >= 1


def test_columns_line_up():
    lines = report.grid(["a", "b"], [["x", "1"], ["longer", "22"]])
    assert len({len(line) for line in lines}) == 1


def test_results_that_cannot_be_kept_are_shown(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(report, "OUT", tmp_path / "file" / "out")
    made = report.Report("x", ["case"])
    made.add(["measured"], {})
    with pytest.raises(PerfError, match=r"could not be kept: .*file"):
        made.finish()
    assert "measured" in capsys.readouterr().out
