"""Shared segments and the instance lock: ownership, stale objects of killed processes."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import shm

ROOT = Path(__file__).resolve().parents[2]
INSTANCE = f"test-shm-{os.getpid()}"


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    left = list(shm.SHM_DIR.glob(f"dpvs_{INSTANCE}_*"))
    for path in left:
        path.unlink()
    assert not left


def run_child(code: str) -> subprocess.Popen:
    """A Python child whose first output line is awaited."""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert child.stdout is not None
    child.line = child.stdout.readline().strip()
    return child


def finish(child: subprocess.Popen) -> None:
    child.kill()
    child.communicate()


def test_two_mappings_share_bytes():
    with shm.Segment.create(INSTANCE, "one", 4096) as mine:
        assert mine.created and mine.owner.pid == os.getpid() and mine.address % 128 == 0
        with shm.Segment.attach(INSTANCE, "one") as other:
            assert other.size == 4096 and other.address != mine.address
            ctypes.memmove(mine.address + 4093, b"end", 3)
            assert ctypes.string_at(other.address + 4093, 3) == b"end"
        assert (shm.SHM_DIR / mine.name).exists(), "an attacher must not remove the object"
    assert not (shm.SHM_DIR / f"dpvs_{INSTANCE}_one").exists()
    assert mine.address == 0


def test_second_create_names_the_owner():
    mine = rf"already exists \(owned by pid {os.getpid()}\)"
    with shm.Segment.create(INSTANCE, "x", 64), pytest.raises(shm.SegmentError, match=mine):
        shm.Segment.create(INSTANCE, "x", 64)


def test_attach_refuses_what_is_not_a_segment():
    path = shm.SHM_DIR / f"dpvs_{INSTANCE}_bad"
    with pytest.raises(shm.SegmentError, match="does not exist"):
        shm.Segment.attach(INSTANCE, "bad")
    path.write_bytes(b"")
    with pytest.raises(shm.SegmentError, match="not a segment"):
        shm.Segment.attach(INSTANCE, "bad")
    path.write_bytes(b"x" * 500)
    with pytest.raises(shm.SegmentError, match="not a segment"):
        shm.Segment.attach(INSTANCE, "bad")
    path.unlink()
    with shm.Segment.create(INSTANCE, "bad", 64):
        data = path.read_bytes()
        with open(path, "r+b") as file:
            file.truncate(100)
            with pytest.raises(shm.SegmentError, match="not a segment"):
                shm.Segment.attach(INSTANCE, "bad")
            file.truncate(150)
            file.write(data[:100])
            file.flush()
            with pytest.raises(shm.SegmentError, match="damaged"):
                shm.Segment.attach(INSTANCE, "bad")
            file.seek(8)
            file.write((99).to_bytes(8, "little"))
            file.flush()
            with pytest.raises(shm.SegmentError, match="version 99"):
                shm.Segment.attach(INSTANCE, "bad")
            file.truncate(shm.HEADER_BYTES + 64)


@pytest.mark.parametrize("instance", ["", "a_b", "../x", "-x", "x" * 33, "a b", "é"])
def test_bad_instance_names(instance, tmp_path):
    with pytest.raises(ValueError, match="instance name"):
        shm.object_name(instance, "x")
    with pytest.raises(ValueError, match="instance name"):
        shm.claim_instance(instance, tmp_path)


@pytest.mark.parametrize("purpose", ["", "/x", "a b", "_x"])
def test_bad_purposes(purpose):
    with pytest.raises(ValueError, match="purpose"):
        shm.object_name("ok", purpose)


@pytest.mark.parametrize("size", [0, -1])
def test_bad_sizes(size):
    with pytest.raises(ValueError, match="positive"):
        shm.Segment.create(INSTANCE, "size", size)


def test_too_large_is_an_error_now_and_leaves_nothing():
    stat = os.statvfs(shm.SHM_DIR)
    with pytest.raises(shm.SegmentError, match=r"segment .* bytes"):
        shm.Segment.create(INSTANCE, "huge", stat.f_blocks * stat.f_frsize * 2)


def test_unlink_spares_a_newer_object_of_the_same_name():
    mine = shm.Segment.create(INSTANCE, "y", 64)
    (shm.SHM_DIR / mine.name).unlink()
    with shm.Segment.create(INSTANCE, "y", 64) as newer:
        assert not mine.unlink()
        assert (shm.SHM_DIR / newer.name).exists()
        mine.close()


def test_owner_identity():
    me = shm.Owner.me()
    assert me.alive()
    assert not shm.Owner(me.pid, me.start + 1).alive(), "a reused pid is another process"
    assert not shm.Owner(0, 0).alive()
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert shm.Owner.of(child.pid) is None, "a zombie does not live"
    child.wait()


def test_second_claim_is_refused_with_the_pid(tmp_path):
    code = (
        "import pathlib, sys\nfrom runtime import shm\n"
        f"shm.claim_instance({INSTANCE!r}, pathlib.Path({str(tmp_path)!r}))\n"
        "print('held', flush=True)\nsys.stdin.read()"
    )
    child = run_child(code)
    try:
        assert child.line == "held"
        assert shm.instance_holder(INSTANCE, tmp_path) == child.pid
        with pytest.raises(shm.InstanceBusy, match=f"already running .pid {child.pid}") as info:
            shm.claim_instance(INSTANCE, tmp_path)
        assert info.value.pid == child.pid
        with pytest.raises(shm.InstanceBusy):
            shm.recover_stale(INSTANCE, tmp_path)
    finally:
        finish(child)
    assert shm.instance_holder(INSTANCE, tmp_path) is None
    with shm.claim_instance(INSTANCE, tmp_path) as claim:
        with pytest.raises(shm.InstanceBusy, match=str(os.getpid())):
            shm.claim_instance(INSTANCE, tmp_path)
        assert claim.path.read_text().split()[0] == str(os.getpid())
    with shm.claim_instance(INSTANCE, tmp_path):
        pass


def test_probing_is_not_mistaken_for_a_daemon(tmp_path):
    assert shm.instance_holder(INSTANCE, tmp_path) is None
    with shm.claim_instance(INSTANCE, tmp_path):
        assert shm.instance_holder(INSTANCE, tmp_path) == os.getpid()
        assert shm.instance_holder("other", tmp_path) is None


def test_unusable_lock_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(shm.InstanceError, match="cannot use lock file"):
        shm.claim_instance("x", tmp_path / "file")


def test_stale_segments_of_a_killed_daemon_are_recovered(tmp_path):
    code = (
        "import sys\nfrom runtime import shm\n"
        f"kept = [shm.Segment.create({INSTANCE!r}, n, 64) for n in ('a', 'b')]\n"
        "print('made', flush=True)\nsys.stdin.read()"
    )
    child = run_child(code)
    names = tuple(f"dpvs_{INSTANCE}_{n}" for n in "ab")
    try:
        assert child.line == "made"
        assert shm.recover_stale(INSTANCE, tmp_path).kept == tuple((n, child.pid) for n in names)
    finally:
        finish(child)
    half_made = shm.SHM_DIR / f"dpvs_{INSTANCE}_c"
    half_made.write_bytes(b"")
    foreign = shm.SHM_DIR / f"dpvs_{INSTANCE}x_keep"
    foreign.write_bytes(b"")
    try:
        with shm.claim_instance(INSTANCE, tmp_path):
            with pytest.raises(shm.SegmentError, match="left by a dead process"):
                shm.Segment.create(INSTANCE, "a", 64)
            with shm.Segment.create(INSTANCE, "mine", 64) as mine:
                done = shm.recover_stale(INSTANCE, tmp_path)
                assert done.removed == (*names, half_made.name)
                assert done.kept == ((mine.name, os.getpid()),)
        assert foreign.exists()
    finally:
        foreign.unlink()
