"""tests/clean_run.py notices what a command leaves behind, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.alone]
CLEAN_RUN = Path(__file__).parents[1] / "clean_run.py"


def clean_run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CLEAN_RUN), *words], capture_output=True, text=True, timeout=200
    )


def test_status_of_a_clean_command_is_handed_on() -> None:
    assert clean_run("--", "sh", "-c", "exit 0").returncode == 0
    assert clean_run("--", "sh", "-c", "exit 7").returncode == 7


def test_child_that_is_just_ending_is_no_fault() -> None:
    assert clean_run("--", "sh", "-c", "sleep 0.5 & exit 0").returncode == 0


def test_detached_process_is_named_and_killed() -> None:
    done = clean_run("--", "sh", "-c", "setsid sh -c 'sleep 71.5 & exit 0' & wait")
    assert done.returncode == 3
    assert "left behind: process" in done.stderr and "sleep 71.5" in done.stderr
    pid = done.stderr.split("process ")[1].split(":")[0]
    assert not Path(f"/proc/{pid}").exists()


def test_shared_memory_is_named(tmp_path: Path) -> None:
    left = Path("/dev/shm") / f"dpvs-{tmp_path.name}"
    try:
        done = clean_run("--", "touch", str(left))
        assert done.returncode == 3
        assert f"left behind: shared memory {left}" in done.stderr
        assert clean_run("--", "true").returncode == 0  # it was there before
    finally:
        left.unlink()


def test_command_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    done = clean_run("--limit", "0.5", "--", "sh", "-c", "sleep 60; true")
    assert done.returncode == 124
    assert "not done within 0.5 s" in done.stderr
    assert time.monotonic() - began < 59


def test_command_that_does_not_exist() -> None:
    done = clean_run("--", "/nonexistent")
    assert done.returncode == 1
    assert done.stderr == "clean_run: /nonexistent: No such file or directory\n"
