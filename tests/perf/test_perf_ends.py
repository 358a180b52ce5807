"""A benchmark that is interrupted or ended leaves nothing behind and says nothing long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perf.child import Child
from perf.errors import PerfError

ROOT = Path(__file__).resolve().parents[2]
# A kernel's pool of hugepages made of files: the machine's own is others' too.
PROGRAM = """
import sys
from pathlib import Path
import click
from perf import huge, main
from perf.child import in_child
pool = Path(sys.argv[1])
huge.hugepages.POOL = pool
huge.hugepages.ensure = lambda pages: (pool / "nr_hugepages").write_text(str(100 + pages))
@click.command()
def work():
    with huge.reserved(7):
        in_child("tests.perf.broken:stay", {"mark": str(pool / "mark")})
main.group.main = work.main
sys.exit(main.main(["--"]))
"""


def wait_for(path: Path) -> str:
    until = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return path.read_text()


def gone(pid: int) -> bool:
    """Whether a process ended, or only waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("group", [False, True], ids=["alone", "with its group"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_ended_benchmark_leaves_nothing(tmp_path: Path, signum: int, group: bool) -> None:
    (tmp_path / "nr_hugepages").write_text("100")
    (tmp_path / "free_hugepages").write_text("100")
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    child = int(wait_for(tmp_path / "mark"))
    assert (tmp_path / "nr_hugepages").read_text() == "107"
    began = time.monotonic()
    (os.killpg if group else os.kill)(program.pid, signum)
    _, said = program.communicate(timeout=30)
    assert time.monotonic() - began < 4
    assert program.returncode in (128 + signum, -signum)
    assert "Traceback" not in said, said
    assert gone(child)
    assert (tmp_path / "nr_hugepages").read_text() == "100"


def test_a_cpu_that_is_not_there() -> None:
    with pytest.raises(PerfError, match="--cpu 4095: this process may use 0"):
        Child("tests.perf.broken:stay", {"cpu": 4095})
