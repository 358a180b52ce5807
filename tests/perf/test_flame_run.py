"""A flame graph of a real worker, from the command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import jit
from tools import lab_needs

ROOT = Path(__file__).resolve().parents[2]
needs = [
    pytest.mark.dpdk,
    pytest.mark.timeout(600),  # a first run compiles with line tables
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for hugepages"),
    pytest.mark.skipif(not shutil.which("perf"), reason="no perf (Debian package linux-perf)"),
    pytest.mark.skipif(not shutil.which("addr2line"), reason="no addr2line (package binutils)"),
    pytest.mark.skipif(not jit.JIT, reason="nothing is compiled in plain mode"),
]
pytestmark = needs


def flame(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "perf.main", "flame", *words],
        cwd=ROOT, env={**os.environ, "DPVS_PERF_OUT": str(folder)}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip


def test_the_graph_names_the_compiled_stages(tmp_path: Path) -> None:
    pages = lab_needs.free_hugepages()
    target = tmp_path / "graph.svg"
    done = flame("--seconds", "1", "-o", str(target), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    text = target.read_text()
    for stage in (
        "ipvs.loop.run", "ipvs.loop.iterate", "ipvs.poll.poll_ports", "ipvs.poll.process",
        "ipvs.classify.classify", "ipvs.poll.look_up", "ipvs.poll.handle",
        "ipvs.known.forward_at_once", "ipvs.steps.rewrite", "netdev.port.flush",
    ):  # fmt: skip
        file = stage.rpartition(".")[0].replace(".", "/")
        assert re.search(rf"{re.escape(stage)} \[{file}\.py:\d+\]: \d", text), stage
    assert "the driver's receive burst: librte_net_pcap" in text
    assert "libpython" in text
    assert len(list(tmp_path.glob("flame-*.json"))) == len(list(tmp_path.glob("flame-*.txt"))) == 1
    assert lab_needs.free_hugepages() >= pages


def test_a_process_that_is_no_worker(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            done = flame("--pid", str(other.pid), "--seconds", "0.2", folder=tmp_path)
        finally:
            other.kill()
    assert done.returncode == 1
    assert re.fullmatch(r"perf: process \d+: it has loaded no LLVM, [^\n]*\n", done.stderr)
