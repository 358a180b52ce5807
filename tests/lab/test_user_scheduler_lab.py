"""The scheduler of docs/schedulers.md, loaded into a running balancer; it outlives its workers."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from lab_running import running

from tests.waiting import eventually

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

DOCS = Path(__file__).parents[2] / "docs" / "schedulers.md"
ALWAYS_LAST = """\
def choose(service, servers, packet):
    return len(servers) - 1
"""


def test_documented_example_in_a_running_balancer(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)
    assert len(example.splitlines()) == 10
    file = tmp_path / "mine.py"
    with running(workers=1) as lb:
        vip = lb.service()
        assert len(set(lb.names(vip, 6))) == 3
        refused = lb.attempt("ipvsadm", "-E", "-t", f"{vip}:80", "-s", "mine")
        assert refused.returncode != 0 and "no scheduler 'mine'" in refused.stderr
        file.write_text(example + "    print(a)\n")
        refused = lb.attempt("dpvs", "scheduler", "load", str(file))
        assert refused.returncode == 1 and "line 11:" in refused.stderr
        file.write_text(example)
        assert "mine: loaded" in lb.op(f"dpvs scheduler load {file}")
        lb.op(f"ipvsadm -E -t {vip}:80 -s mine")
        assert f"{vip}:80 mine" in lb.op("ipvsadm -Ln")
        assert len(set(lb.names(vip, 30))) == 3
        # Replaced while it is used, then kept by the worker's successor.
        file.write_text(ALWAYS_LAST)
        lb.op(f"dpvs scheduler load {file}")
        (chosen,) = set(lb.names(vip, 6))
        pid = lb.worker_pid()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: lb.status()["workers"][0]["pid"] not in (pid, None))
        eventually(lambda: lb.status()["workers"][0]["state"] == "up")
        assert set(lb.names(vip, 6)) == {chosen}
        assert lb.attempt("dpvs", "scheduler", "unload", "mine").returncode == 1
        lb.op(f"ipvsadm -E -t {vip}:80 -s rr")
        lb.op("dpvs scheduler unload mine")
        assert lb.op("dpvs scheduler show") == ""
        assert len(set(lb.names(vip, 6))) == 3
