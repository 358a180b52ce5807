"""The lock of an instance goes with it, and two daemons never hold one name for that."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

from runtime.shm import InstanceBusy, claim_instance, instance_holder


def test_removed_with_its_folder(tmp_path: Path) -> None:
    claim = claim_instance("lb", tmp_path)
    claim.release(remove=True)
    assert list(tmp_path.iterdir()) == []
    claim.release(remove=True)  # a second time does nothing
    with claim_instance("lb", tmp_path):
        assert (tmp_path / "lb" / "lock").exists()


def test_folder_with_something_in_it_stays(tmp_path: Path) -> None:
    claim = claim_instance("lb", tmp_path)
    (tmp_path / "lb" / "master.err").write_text("why\n")
    claim.release(remove=True)
    assert [path.name for path in (tmp_path / "lb").iterdir()] == ["master.err"]


def test_file_of_a_later_daemon_is_left_alone(tmp_path: Path) -> None:
    """Removed by hand while the daemon ran, and claimed again by another one."""
    first = claim_instance("lb", tmp_path)
    (tmp_path / "lb" / "lock").unlink()
    with claim_instance("lb", tmp_path):
        first.release(remove=True)
        assert (tmp_path / "lb" / "lock").read_text().split()[0] == str(os.getpid())


def test_looking_for_a_holder_makes_nothing(tmp_path: Path) -> None:
    assert instance_holder("lb", tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def claim_and_remove(root: Path, seconds: float, failures: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    """Hold the name again and again; only one process at a time may."""
    end = time.monotonic() + seconds
    held = 0
    while time.monotonic() < end:
        try:
            claim = claim_instance("lb", root, attempts=1)
        except InstanceBusy:
            continue
        mark = root / "held"
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            failures.put("two processes hold the instance")
            return
        held += 1
        mark.unlink()
        claim.release(remove=bool(held % 3))
    failures.put(f"held {held}")


def test_only_one_holds_it_while_it_comes_and_goes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    children = [
        context.Process(target=claim_and_remove, args=(tmp_path, 1.0, results)) for _ in range(3)
    ]
    for child in children:
        child.start()
    said = [results.get(timeout=30) for _ in children]
    for child in children:
        child.join()
    assert all(text.startswith("held") for text in said), said
    assert sum(int(text.split()[1]) for text in said) > 20
