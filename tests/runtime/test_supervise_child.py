"""A worker's set-up of itself, in processes of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime import shm
from runtime.heartbeat import LIFE_BYTES, READY, LifeBlock
from runtime.supervise_child import WorkerSetupError, enter_worker, pin_to_cpu

ROOT = Path(__file__).resolve().parents[2]
INSTANCE = f"test-child-{os.getpid()}"

LOOPING = """
import gc
from runtime.heartbeat_loop import beat, must_stop
from runtime.jit import compiled
from runtime.supervise_child import enter_worker

@compiled
def loop(life):
    turns = 0
    while must_stop(life) == 0:
        beat(life)
        turns += 1
    return turns

worker = enter_worker()
worker.settle()
assert not gc.isenabled() and gc.get_freeze_count() > 0
worker.ready()
print("turns", loop(worker.life_address))
"""


@pytest.fixture
def life():
    with shm.Segment.create(INSTANCE, "life", LIFE_BYTES) as segment:
        yield LifeBlock.from_address(segment.address)


def child(program: Path) -> subprocess.Popen:
    env = {**os.environ, "DPVS_WORKER_INSTANCE": INSTANCE, "DPVS_WORKER_INDEX": "0"}
    return subprocess.Popen(
        [sys.executable, program],
        env={**env, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_termination_stops_a_compiled_loop(life, number, tmp_path):
    program = tmp_path / "looping.py"
    program.write_text(LOOPING)
    worker = child(program)
    try:
        end = time.monotonic() + 60
        while life.heartbeat < 1000:
            assert worker.poll() is None and time.monotonic() < end, worker.communicate()[1]
            time.sleep(0.01)
        assert life.state == READY and life.pid == worker.pid and life.stop == 0
        worker.send_signal(number)
        out, err = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == 0, err
    assert out.startswith("turns ")


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"DPVS_WORKER_INSTANCE": ""}, "started by the dpvs daemon"),
        ({"DPVS_WORKER_INDEX": "x"}, "started by the dpvs daemon"),
        ({"DPVS_WORKER_INDEX": "7"}, "has no block"),
        ({"DPVS_WORKER_INSTANCE": "nobody"}, "does not exist"),
        ({"DPVS_WORKER_INSTANCE": "bad_name"}, "instance name"),
        ({"DPVS_WORKER_CPU": "100000"}, "cannot run on CPU 100000: this process may use"),
    ],
)
def test_what_makes_no_worker_is_one_clear_line(life, monkeypatch, environment, text):
    monkeypatch.setenv("DPVS_WORKER_INSTANCE", INSTANCE)
    monkeypatch.setenv("DPVS_WORKER_INDEX", "0")
    monkeypatch.setattr("runtime.supervise_child.flag_termination", lambda address: None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WorkerSetupError, match=text):
        enter_worker()


def test_pinning_refuses_nonsense():
    before = os.sched_getaffinity(0)
    for cpu in (-1, 10**6, 10**30):
        with pytest.raises(WorkerSetupError, match="cannot run on CPU"):
            pin_to_cpu(cpu)
    assert os.sched_getaffinity(0) == before


def test_launcher_refuses_when_the_parent_has_gone():
    launcher = ROOT / "runtime" / "supervise_launch.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", launcher, "1", "aslr", "/bin/true"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "parent 1 has gone" in done.stderr


def test_launcher_reports_a_command_it_cannot_run():
    launcher = ROOT / "runtime" / "supervise_launch.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", launcher, str(os.getpid()), "noaslr", "/nonexistent"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "cannot start /nonexistent" in done.stderr
    assert "Traceback" not in done.stderr
