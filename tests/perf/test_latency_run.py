"""A latency measurement of the whole daemon, from the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import jit
from tools import lab_needs

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.dpdk,
    pytest.mark.timeout(600),  # a first run compiles
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for hugepages"),
    pytest.mark.skipif(not jit.JIT, reason="nothing is compiled in plain mode"),
]


def test_all_packets_come_out_while_everything_is_changed(tmp_path: Path) -> None:
    pages = lab_needs.free_hugepages()
    # A low rate and a deep queue: the machine may be busy with other things.
    done = subprocess.run(
        [sys.executable, "-m", "perf.main", "--keep-disturbed", "latency", "--rounds", "2",
         "--seconds", "0.3", "--load", "0.02", "--depth", "32768", "--changes", "100",
         "--flows", "64"],
        cwd=ROOT, env={**os.environ, "DPVS_PERF_OUT": str(tmp_path)}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "packets came out" in done.stdout and "Traceback" not in done.stderr
    (file,) = tmp_path.glob("latency-*.json")
    results = json.loads(file.read_text())["results"]
    cases = [row for row in results if "case" in row]
    assert [(row["case"], row["time"]) for row in cases] == [
        (case, time)
        for case in ("quiet", "changed and read")
        for time in ("arrived to sent", "received to sent", "between polls")
    ]
    for row in cases:
        for one in row["rounds"]:
            assert 0 < one["p50"] <= one["p99"] <= one["p99.99"] <= one["max"]
    busy = results[-1]["all"]["cases"]["changed and read"]
    assert all(one["changes_s"] > 5 and one["readings_s"] > 1 for one in busy)
    assert lab_needs.free_hugepages() >= pages
    assert not list(Path("/run/dpvs").glob("perf[0-9]*"))
