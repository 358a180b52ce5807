"""Worker processes of one instance: started, watched, replaced when they die, stopped.

The worker's side is ``runtime.supervise_child.enter_worker``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from runtime.heartbeat import LIFE_BYTES
from runtime.shm import Segment
from runtime.supervise_child import LIFE_PURPOSE
from runtime.supervise_process import WorkerSpec
from runtime.supervise_worker import STOPPED, Policy, SupervisedWorker

log = logging.getLogger(__name__)

__all__ = ["Policy", "Supervisor", "WorkerNotReady", "WorkerSpec"]


class WorkerNotReady(Exception):
    """Workers did not get ready in time; the text says which, and how they ended last."""


class Supervisor:
    """Keeps workers 0 .. ``workers`` - 1 of ``instance`` running; ``async with`` ends them.

    ``on_up(index, pid)`` is called when a worker has become ready, ``on_down(index, reason)`` when
    a process has ended (ready or not) and before the next one starts; neither may block.  Raises
    SegmentError when the life segment cannot be made.  All methods belong to the event loop.
    """

    def __init__(
        self,
        instance: str,
        workers: int,
        policy: Policy | None = None,
        on_up: Callable[[int, int], None] | None = None,
        on_down: Callable[[int, str], None] | None = None,
    ) -> None:
        self.instance, self.policy = instance, policy or Policy()
        self._on_up, self._on_down = on_up or _ignore, on_down or _ignore
        self._segment = Segment.create(instance, LIFE_PURPOSE, workers * LIFE_BYTES)
        self._room = workers
        self._workers: dict[int, SupervisedWorker] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def start(self, spec: WorkerSpec) -> None:
        """Begin to run and supervise a worker; ValueError for a bad index or one that runs."""
        index = spec.index
        if not 0 <= index < self._room:
            raise ValueError(f"worker {index}: there is room for 0 to {self._room - 1}")
        if index in self._tasks and not self._tasks[index].done():
            raise ValueError(f"worker {index} is supervised already")
        worker = SupervisedWorker(
            spec,
            self.instance,
            self.life_address(index),
            self.policy,
            self._on_up,
            self._on_down,
        )
        self._workers[index] = worker
        self._tasks[index] = asyncio.create_task(worker.run(), name=f"worker {index}")

    def life_address(self, index: int) -> int:
        """Address of the LifeBlock of worker ``index`` in this process."""
        return self._segment.address + index * LIFE_BYTES

    async def wait_up(self, indices: Iterable[int] | None = None, timeout: float = 300.0) -> None:
        """Until the workers (default all) are ready; WorkerNotReady after ``timeout`` seconds."""
        wanted = [self._workers[i] for i in (self._workers if indices is None else indices)]
        try:
            async with asyncio.timeout(timeout):
                for worker in wanted:
                    await worker.ready.wait()
        except TimeoutError:
            late = "; ".join(
                f"worker {w.spec.index} ({w.last_exit or w.state})"
                for w in wanted
                if not w.ready.is_set()
            )
            raise WorkerNotReady(f"not ready within {timeout:g} s: {late}") from None

    def kill(self, index: int, reason: str) -> None:
        """End a faulty worker at once; it is started again.  KeyError for an unknown one."""
        self._workers[index].kill(reason)

    def restart(self, index: int) -> None:
        """Stop a worker in good order and start it again at once.  KeyError for an unknown one."""
        self._workers[index].stop(again=True)

    async def stop(self, index: int) -> None:
        """Stop a worker: TERM, and KILL after ``policy.stop_timeout``.  KeyError if unknown."""
        self._workers[index].stop()
        await asyncio.wait([self._tasks[index]])

    async def close(self) -> None:
        """Stop all workers and remove the life segment.  Idempotent."""
        for worker in self._workers.values():
            worker.stop()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        self._workers.clear()
        self._tasks.clear()
        if self._segment.address:
            self._segment.unlink()
            self._segment.close()

    async def __aenter__(self) -> Supervisor:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def ended_well(self, index: int) -> bool:
        """Whether the worker's last process ended in good order, being asked to."""
        return self._workers[index].ended_well

    @property
    def running(self) -> list[int]:
        """Indices of the workers that are supervised now."""
        return sorted(i for i, worker in self._workers.items() if worker.state != STOPPED)

    def status(self) -> list[dict[str, Any]]:
        """One map per worker for ``dpvs status``: state, pid, uptime, restarts, last end."""
        return [self._workers[index].status() for index in sorted(self._workers)]


def _ignore(index: int, detail: object) -> None:
    return None
