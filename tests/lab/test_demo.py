"""The demonstration from start to end, in every forwarding mode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import lab_scrap

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.demo_main", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize("mode", ["fullnat", "dr"])
def test_demo(mode: str) -> None:
    done = demo("--mode", mode, "--requests", "150")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "150 of 150 answered" in done.stdout
    assert "All well." in done.stdout
    assert lab_scrap.leftovers("demo") == []


def test_kept_demo_goes_on_until_it_is_taken_down() -> None:
    done = demo("--keep", "--requests", "30", "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        again = demo()
        assert again.returncode == 1 and "tools/demo --down" in again.stderr
        curl = ["ip", "netns", "exec", "dpvs-demo-client", "curl", "-s", "http://192.0.2.100/"]
        assert subprocess.run(curl, capture_output=True, text=True).stdout.startswith("rs")
    finally:
        down = demo("--down")
    assert down.returncode == 0, down.stderr
    assert lab_scrap.leftovers("demo") == []
    assert demo("--down").stdout == "no demonstration is running\n"
