"""The lock of an instance goes with it, and two daemons never hold one name for that."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from runtime.shm import InstanceBusy, claim_instance, instance_holder
from tests.waiting import PATIENCE


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


def claim_and_remove(root: Path, times: int, together: Barrier, failures: Queue[str]) -> None:
    """Hold the name so many times; only one process at a time may."""
    together.wait(PATIENCE)
    held = 0
    while held < times:
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
    results, together = context.Queue(), context.Barrier(3)
    arguments = (tmp_path, 100, together, results)
    children = [context.Process(target=claim_and_remove, args=arguments) for _ in range(3)]
    for child in children:
        child.start()
    said = [results.get(timeout=PATIENCE) for _ in children]
    for child in children:
        child.join()
    assert said == ["held 100"] * 3
