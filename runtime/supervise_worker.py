"""The life of one worker as the master sees it: start, readiness, heartbeat, end, start again."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from runtime.heartbeat import LIFE_BYTES, READY, LifeBlock
from runtime.supervise_backoff import Backoff
from runtime.supervise_process import Process, WorkerSpec, exit_reason

log = logging.getLogger(__name__)

STARTING, UP, STOPPING, WAITING, STOPPED = "starting", "up", "stopping", "waiting", "stopped"


@dataclass(frozen=True)
class Policy:
    """Times in seconds."""

    ready_timeout: float = 300.0
    """From start to ready; a cold start compiles the packet path."""
    hang_after: float = 10.0
    """A ready worker whose heartbeat stands still this long is killed; 0: never."""
    stop_timeout: float = 5.0
    """From TERM to KILL."""
    backoff_first: float = 0.5
    backoff_largest: float = 30.0
    stable_after: float = 10.0
    """See runtime/supervise_backoff.py."""


class SupervisedWorker:
    """Keeps the process of ``spec`` running; ``up`` and ``down`` are told of every change."""

    def __init__(
        self,
        spec: WorkerSpec,
        instance: str,
        life_address: int,
        policy: Policy,
        up: Callable[[int, int], None],
        down: Callable[[int, str], None],
    ) -> None:
        self.spec, self.policy = spec, policy
        self._instance, self._life_address = instance, life_address
        self._up, self._down = up, down
        self._life = LifeBlock.from_address(life_address)
        self._backoff = Backoff(policy.backoff_first, policy.backoff_largest, policy.stable_after)
        self._wake = asyncio.Event()
        self._process: Process | None = None
        self._started = 0.0
        self._verdict: str | None = None
        self._stop = self._again = False
        self.state = STOPPED
        self.ready = asyncio.Event()
        """Set while the worker is up."""
        self.starts = 0
        self.last_exit: str | None = None
        self.last_exit_time: float | None = None
        self.ended_well = False
        """Whether the last process ended as it was asked to, and in good order."""

    def stop(self, again: bool = False) -> None:
        """Ask the process to end (TERM, later KILL); ``again``: and start a new one at once."""
        self._stop, self._again = not again, again
        self._wake.set()

    def kill(self, reason: str) -> None:
        """End the process now; it is started again.  ``reason`` becomes the reason of its end."""
        if self._process is not None:
            self._verdict = self._verdict or reason
            self._process.kill()

    async def run(self) -> None:
        """Start, watch and restart the process until ``stop``."""
        try:
            while not self._stop:
                self._start()
                await self._watch()
                lived = time.monotonic() - self._started
                self._ended()
                if self._again:
                    self._again = False
                elif not self._stop:
                    self.state = WAITING
                    await self._pause(self._backoff.after(lived))
        finally:
            if self._process is not None:
                self._process.reap()
                self._verdict = self._verdict or "the master is stopping"
                self._ended()
            self.state = STOPPED

    def _start(self) -> None:
        ctypes.memset(self._life_address, 0, LIFE_BYTES)
        self._verdict = None
        self._started = time.monotonic()
        self.starts += 1
        self.state = STARTING
        try:
            self._process = Process(self.spec, self._instance, self._wake.set)
        except OSError as problem:
            self._verdict = f"cannot be started: {problem}"

    async def _watch(self) -> None:
        """Until the process has ended."""
        beat, beat_time, looked, deadline = -1, self._started, self._started, 0.0
        process = self._process
        while process is not None and process.status is None:
            await self._sleep(0.01 if self.state == STARTING else 0.1)
            now = time.monotonic()
            if self._life.heartbeat != beat or now - looked > 1.0:
                # After a pause of the master itself nothing is known about the worker.
                beat, beat_time = self._life.heartbeat, now
            looked = now
            if process.status is not None:
                break
            if self.state == STOPPING:
                if now >= deadline:
                    self.kill(f"did not stop within {self.policy.stop_timeout:g} s of TERM")
            elif self._stop or self._again:
                self.state, deadline = STOPPING, now + self.policy.stop_timeout
                process.terminate()
            elif self.state == STARTING:
                if self._life.pid == process.pid and self._life.state == READY:
                    self.state, beat_time = UP, now
                    self.ready.set()
                    log.info("worker %d is up (pid %d)", self.spec.index, process.pid)
                    self._call(self._up, self.spec.index, process.pid)
                elif now - self._started > self.policy.ready_timeout:
                    self.kill(f"was not ready within {self.policy.ready_timeout:g} s")
            elif 0 < self.policy.hang_after < now - beat_time:
                self.kill(f"had no heartbeat for {self.policy.hang_after:g} s")

    def _ended(self) -> None:
        process, self._process = self._process, None
        reason = self._verdict or "ended"
        if process is not None:
            process.forget()
            if self._verdict is None and process.status is not None:
                reason = exit_reason(process.status)
            if self.state == STOPPING and self._verdict is None:
                reason = f"stopped ({reason})"
        self.ended_well = self.state == STOPPING and reason == f"stopped ({exit_reason(0)})"
        level = logging.INFO if self.ended_well else logging.ERROR
        log.log(level, "worker %d: %s", self.spec.index, reason)
        self.ready.clear()
        self.last_exit, self.last_exit_time = reason, time.time()
        self._call(self._down, self.spec.index, reason)

    def _call(self, callback: Callable[[int, Any], None], index: int, detail: int | str) -> None:
        try:
            callback(index, detail)
        except Exception:
            log.exception("callback for worker %d", index)

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _pause(self, seconds: float) -> None:
        if seconds:
            log.warning("worker %d starts again in %g s", self.spec.index, seconds)
        end = time.monotonic() + seconds
        while not self._stop and not self._again and (left := end - time.monotonic()) > 0:
            await self._sleep(left)
        self._again = False

    def status(self) -> dict[str, Any]:
        """State, pid, uptime in seconds and the last end of the worker, as plain data."""
        running = self._process is not None
        return {
            "index": self.spec.index,
            "state": self.state,
            "pid": self._process.pid if self._process is not None else None,
            "cpu": self.spec.cpu,
            "starts": self.starts,
            "uptime": round(time.monotonic() - self._started, 3) if running else 0.0,
            "heartbeat": self._life.heartbeat,
            "last_exit": self.last_exit,
            "last_exit_time": self.last_exit_time,
        }
