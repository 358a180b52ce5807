"""Supervision of real worker processes: readiness, kill -9, hangs, back-off, clean stop."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import shm
from runtime.supervise import Policy, Supervisor, WorkerNotReady, WorkerSpec
from runtime.supervise_backoff import Backoff
from runtime.supervise_process import exit_reason
from runtime.supervise_worker import SupervisedWorker
from tests.waiting import PATIENCE, eventually, until

ROOT = Path(__file__).resolve().parents[2]
INSTANCE = f"test-sup-{os.getpid()}"

WORKER = """
import os, sys, time
from runtime.supervise_child import enter_worker

worker = enter_worker()
mode = sys.argv[1]
if mode == "crash":
    sys.exit(3)
if mode == "never ready":
    time.sleep(60)
worker.settle()
worker.ready()
while mode == "deaf" or not worker.stop_requested:
    if mode != "hang":
        worker.beat()
    time.sleep(0.01)
"""


@pytest.fixture
def spec(tmp_path):
    """Makes specifications of a worker that behaves in a given mode."""
    (tmp_path / "small_worker.py").write_text(WORKER)

    def make(mode: str = "good", index: int = 0, **options) -> WorkerSpec:
        environment = {"PYTHONPATH": str(tmp_path)}
        return WorkerSpec(index, "small_worker", (mode,), environment, **options)

    return make


class Events:
    """The callbacks of a supervisor, with waiting."""

    def __init__(self) -> None:
        self.ups: list[tuple[int, int]] = []
        self.downs: list[tuple[int, str]] = []
        self.down_times: list[float] = []

    def up(self, index: int, pid: int) -> None:
        self.ups.append((index, pid))

    def down(self, index: int, reason: str) -> None:
        self.downs.append((index, reason))
        self.down_times.append(time.monotonic())

    async def until(self, ups: int = 0, downs: int = 0) -> None:
        await until(lambda: len(self.ups) >= ups and len(self.downs) >= downs)


def supervise(scenario, workers: int = 1, **policy):
    """Run ``scenario(supervisor, events)``; nothing may be left behind."""

    async def main():
        events = Events()
        settings = Policy(**{"backoff_first": 0.1, "stop_timeout": PATIENCE, **policy})
        async with Supervisor(INSTANCE, workers, settings, events.up, events.down) as supervisor:
            await scenario(supervisor, events)
        assert not list(shm.SHM_DIR.glob(f"dpvs_{INSTANCE}_*"))
        return events

    return asyncio.run(main())


def gone(pid: int) -> bool:
    return shm.Owner.of(pid) is None


def test_up_status_and_clean_stop(spec):
    async def scenario(supervisor, events):
        supervisor.start(spec(index=0))
        supervisor.start(spec(index=1, cpu=min(os.sched_getaffinity(0))))
        with pytest.raises(ValueError, match="already"):
            supervisor.start(spec(index=0))
        with pytest.raises(ValueError, match="room for 0 to 1"):
            supervisor.start(spec(index=2))
        await supervisor.wait_up(timeout=PATIENCE)
        assert supervisor.running == [0, 1]
        first, second = supervisor.status()
        assert first["state"] == "up" and first["pid"] == dict(events.ups)[0]
        assert first["last_exit"] is None and first["starts"] == 1
        assert os.sched_getaffinity(second["pid"]) == {min(os.sched_getaffinity(0))}
        assert os.getpgid(first["pid"]) == first["pid"], "Ctrl-C must not reach it"
        await until(lambda: supervisor.status()[0]["heartbeat"] > first["heartbeat"])
        await supervisor.stop(0)
        assert supervisor.status()[0]["state"] == "stopped" and supervisor.running == [1]
        assert supervisor.ended_well(0) and not supervisor.ended_well(1)
        supervisor.start(spec(index=0))
        await supervisor.wait_up([0], timeout=PATIENCE)

    events = supervise(scenario, workers=2)
    assert {reason for _, reason in events.downs} == {"stopped (exited with status 0)"}


def test_killed_worker_is_started_again_without_a_pause(spec, monkeypatch):
    """What is left of the outage is the time that a process takes to start."""
    pauses: list[float] = []
    pause = SupervisedWorker._pause

    async def noted(worker, seconds):
        pauses.append(seconds)
        await pause(worker, seconds)

    monkeypatch.setattr(SupervisedWorker, "_pause", noted)

    async def scenario(supervisor, events):
        supervisor.start(spec())
        await events.until(ups=1)
        os.kill(events.ups[0][1], signal.SIGKILL)
        await events.until(ups=2)
        assert pauses == [0]
        assert events.downs == [(0, "killed by SIGKILL")]
        status = supervisor.status()[0]
        assert status["last_exit"] == "killed by SIGKILL" and status["starts"] == 2
        assert status["pid"] == events.ups[1][1] != events.ups[0][1]
        assert not supervisor.ended_well(0)

    supervise(scenario)


def test_hung_worker_is_replaced(spec):
    async def scenario(supervisor, events):
        supervisor.start(spec("hang"))
        await events.until(ups=2)

    events = supervise(scenario, hang_after=0.4)
    assert events.downs[0] == (0, "had no heartbeat for 0.4 s")


def test_never_ready_worker_is_replaced_and_reported(spec):
    async def scenario(supervisor, events):
        supervisor.start(spec("never ready"))
        with pytest.raises(WorkerNotReady, match=r"worker 0 \((starting|was not ready)"):
            await supervisor.wait_up(timeout=0.1)
        await events.until(downs=2)
        assert events.ups == []

    events = supervise(scenario, ready_timeout=0.5)
    assert events.downs[0] == (0, "was not ready within 0.5 s")


def test_crash_loop_backs_off(spec):
    async def scenario(supervisor, events):
        supervisor.start(spec("crash"))
        await events.until(downs=5)
        # 0, 0.1, 0.2 and 0.4 s lie between one death and the next.
        assert events.down_times[4] - events.down_times[3] > 0.4
        assert supervisor.status()[0]["state"] in ("waiting", "starting")

    events = supervise(scenario)
    assert events.downs[0] == (0, "exited with status 3") and events.ups == []


def test_missing_module_and_missing_interpreter(spec, monkeypatch, capfd):
    async def scenario(supervisor, events):
        supervisor.start(WorkerSpec(0, "no_such_module_anywhere"))
        await events.until(downs=1)
        await supervisor.stop(0)
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        supervisor.start(spec())
        await events.until(downs=len(events.downs) + 1)

    events = supervise(scenario)
    assert events.downs[0] == (0, "exited with status 1")
    assert "cannot be started" in events.downs[-1][1]
    assert "no_such_module_anywhere" in capfd.readouterr().err


def test_deaf_worker_is_killed_after_the_deadline(spec):
    async def scenario(supervisor, events):
        supervisor.start(spec("deaf"))
        await events.until(ups=1)
        await supervisor.stop(0)
        assert not supervisor.ended_well(0)

    events = supervise(scenario, stop_timeout=0.3)
    assert events.downs == [(0, "did not stop within 0.3 s of TERM")]


def test_restart_and_kill_on_request(spec):
    async def scenario(supervisor, events):
        supervisor.start(spec())
        await events.until(ups=1)
        supervisor.restart(0)
        await events.until(ups=2)
        supervisor.kill(0, "its ring is destroyed")
        await events.until(ups=3)

    events = supervise(scenario)
    reasons = [reason for _, reason in events.downs]
    assert reasons[:2] == ["stopped (exited with status 0)", "its ring is destroyed"]


def test_failing_callbacks_do_not_stop_supervision(spec):
    async def scenario(supervisor, events):
        calls = []

        def fail(index, detail):
            calls.append(detail)
            raise RuntimeError("callback")

        supervisor._on_up = supervisor._on_down = fail
        supervisor.start(spec())
        await until(lambda: len(calls) >= 1)
        os.kill(calls[0], signal.SIGKILL)
        await until(lambda: len(calls) >= 3)

    supervise(scenario)


def test_stop_at_once_and_second_supervisor(spec):
    async def scenario(supervisor, events):
        with pytest.raises(shm.SegmentError, match="already exists"):
            Supervisor(INSTANCE, 1)
        supervisor.start(spec())

    assert supervise(scenario).ups == []


def test_cancelled_master_leaves_no_process(spec):
    async def scenario(supervisor, events):
        supervisor.start(spec())
        await events.until(ups=1)
        supervisor._tasks[0].cancel()
        await asyncio.wait([supervisor._tasks[0]])
        assert gone(events.ups[0][1])

    supervise(scenario)


MASTER = """
import asyncio, sys
from runtime.supervise import Supervisor, WorkerSpec
async def main():
    say = lambda index, pid: print(pid, flush=True)
    async with Supervisor(sys.argv[1], 1, on_up=say) as supervisor:
        supervisor.start(WorkerSpec(0, "small_worker", ("deaf",), {"PYTHONPATH": sys.argv[2]}))
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_workers_end_with_a_killed_master(spec, tmp_path):
    master = subprocess.Popen(
        [sys.executable, "-c", MASTER, INSTANCE, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert master.stdout is not None
    try:
        worker = int(master.stdout.readline())
        assert shm.Owner.of(worker) is not None
    finally:
        master.kill()
        master.communicate()
    eventually(lambda: gone(worker))
    assert shm.recover_stale(INSTANCE, tmp_path).removed == (f"dpvs_{INSTANCE}_life",)


@pytest.mark.parametrize(("aslr", "expected"), [(False, True), (True, False)])
def test_address_randomisation(aslr, expected, tmp_path):
    out = tmp_path / "personality"
    (tmp_path / "look.py").write_text(
        f"open({str(out)!r}, 'w').write(open('/proc/self/personality').read())\n"
    )

    async def scenario(supervisor, events):
        supervisor.start(WorkerSpec(0, "look", (), {"PYTHONPATH": str(tmp_path)}, aslr=aslr))
        await events.until(downs=1)

    supervise(scenario)
    assert bool(int(out.read_text(), 16) & 0x0040000) == expected


@given(st.lists(st.floats(0, 30), max_size=30))
def test_backoff_is_bounded_and_grows(lives):
    backoff, last = Backoff(first=0.5, largest=30, stable=10), None
    for lived in lives:
        delay = backoff.after(lived)
        if last is None or lived >= 10:
            assert delay == 0
        else:
            assert delay == min(30, max(0.5, last * 2))
        last = delay


def test_backoff_after_very_many_deaths():
    backoff = Backoff()
    assert max(backoff.after(0.0) for _ in range(5000)) == 30


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "exited with status 0"), (-11, "killed by SIGSEGV"), (-99, "killed by signal 99")],
)
def test_exit_reasons(status, text):
    assert exit_reason(status) == text


def teardown_module():
    for path in shm.SHM_DIR.glob(f"dpvs_{INSTANCE}_*"):
        with contextlib.suppress(OSError):
            path.unlink()
