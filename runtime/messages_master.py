"""The master's end of the messages: requests, casts and events of all workers, on asyncio.

Rings have no descriptor to wait for, so a task polls them: every millisecond while an answer is
due or traffic is recent, ever more slowly (to 20 ms) when all is quiet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from runtime.messages_channel import Channel
from runtime.messages_inbox import EventHandler, Inbox
from runtime.messages_outbox import BROKEN, LAGGING, UP, Outbox, Outgoing, Record
from runtime.messages_wire import (
    CAST,
    REQUEST,
    MessageError,
    MessageTimeout,
    WorkerDown,
    pack_body,
)

log = logging.getLogger(__name__)

TroubleHandler = Callable[[int, str], None]
"""Called with the worker and the reason."""

PER_POLL = 512
"""Messages a worker may send and get in one poll, so that one cannot starve the rest."""


class MasterPort:
    """Talks with every worker; all methods belong to the event loop's thread.

    ``pending_limit`` bounds the bytes that wait for one worker besides its ring.  Times are in
    seconds.
    """

    def __init__(
        self,
        pending_limit: int = 64 << 20,
        poll_fast: float = 0.001,
        poll_slow: float = 0.020,
    ) -> None:
        self._limit, self._fast, self._slow = pending_limit, poll_fast, poll_slow
        self._links: dict[int, tuple[Outbox, Inbox]] = {}
        self._events: dict[str, EventHandler] = {}
        self._wake = asyncio.Event()
        self._told: dict[int, str] = {}
        self.on_lagging: TroubleHandler | None = None
        """The worker does not keep up: give it a new snapshot with ``reset``, or replace it."""
        self.on_broken: TroubleHandler | None = None
        """A ring of the worker is destroyed: replace the worker."""

    @property
    def workers(self) -> list[int]:
        """Numbers of the known workers."""
        return sorted(self._links)

    def add_worker(self, worker: int, channel: Channel, snapshot: Iterable[Record] = ()) -> None:
        """Begin the stream to ``worker`` with ``snapshot``; ValueError when it is known already."""
        if worker in self._links:
            raise ValueError(f"worker {worker} has been added already")
        box = Outbox(worker, channel, self._limit)
        self._links[worker] = box, Inbox(box, self._events)
        self.reset(worker, snapshot)

    def remove_worker(self, worker: int, reason: str = "removed") -> None:
        """Forget a worker that has exited."""
        self.worker_down(worker, reason)
        del self._links[worker]

    def worker_down(self, worker: int, reason: str) -> None:
        """The worker's process has exited: take its last events and fail its requests.

        Casts are skipped until ``reset`` gives the next process a snapshot; call it before that
        process starts.
        """
        box = self._box(worker)
        inbox = self._links[worker][1]
        while inbox.receive(PER_POLL):
            pass
        inbox.restart()
        box.down(reason)

    def reset(self, worker: int, snapshot: Iterable[Record]) -> None:
        """Give the worker ``snapshot`` (type, body) casts, then the stream of what follows.

        The records are read lazily, so they must not change meanwhile.  Raises WorkerBroken.
        """
        box = self._box(worker)
        box.reset(snapshot)
        self._told.pop(worker, None)
        box.drain(PER_POLL)
        self._wake.set()

    def on_event(self, kind: str, handler: EventHandler) -> None:
        """Call ``handler(worker, body)`` for events of type ``kind``.

        Of the layer itself: ``resync`` (the worker missed updates: call ``reset``) and ``error``
        (the worker could not read or apply a message).
        """
        self._events[kind] = handler

    def _box(self, worker: int) -> Outbox:
        try:
            return self._links[worker][0]
        except KeyError:
            raise WorkerDown(f"there is no worker {worker}") from None

    async def request(self, worker: int, kind: str, body: Any = None, deadline: float = 1.0) -> Any:
        """Body of the worker's reply.

        Raises MessageTimeout after ``deadline`` seconds, RequestFailed with the worker's error,
        WorkerDown, WorkerLagging or WorkerBroken when it cannot be asked, MessageTooLarge,
        BodyError: all of them MessageError.
        """
        box = self._box(worker)
        waiter = asyncio.get_running_loop().create_future()
        message = Outgoing(kind, REQUEST, pack_body(body), waiter)
        self._send(box, message)
        try:
            async with asyncio.timeout(deadline):
                return await waiter
        except TimeoutError:
            raise MessageTimeout(worker, kind, deadline) from None
        finally:
            waiter.cancel()
            box.unanswered.pop(message.number, None)

    async def multicast_request(
        self,
        kind: str,
        body: Any = None,
        deadline: float = 1.0,
        workers: Iterable[int] | None = None,
    ) -> dict[int, Any]:
        """Ask ``workers`` (default all) at once: worker -> body of the reply, or MessageError."""
        asked = self.workers if workers is None else list(workers)

        async def one(worker: int) -> Any:
            try:
                return await self.request(worker, kind, body, deadline)
            except MessageError as problem:
                return problem

        return dict(zip(asked, await asyncio.gather(*map(one, asked)), strict=True))

    def cast(self, worker: int, kind: str, body: Any = None) -> None:
        """Send without reply, in order; what the ring has no room for waits in memory.

        Raises MessageTooLarge and BodyError.  A worker that is down or lagging is skipped: its
        next snapshot covers the update.
        """
        self._send(self._box(worker), Outgoing(kind, CAST, pack_body(body)))

    def _send(self, box: Outbox, message: Outgoing) -> None:
        box.send(message)
        if not box.idle or message.waiter is not None:
            self._wake.set()

    def cast_all(self, kind: str, body: Any = None) -> None:
        """``cast`` to every worker; MessageTooLarge and BodyError before any has been sent."""
        message = Outgoing(kind, CAST, pack_body(body))
        boxes = [box for box, _ in self._links.values()]
        for box in boxes:
            box.check_size(message)
        for box in boxes:
            self._send(box, Outgoing(kind, CAST, message.body))

    def poll(self) -> int:
        """Move what can be moved, both ways, without waiting; how many messages."""
        moved = 0
        for box, inbox in list(self._links.values()):
            moved += box.drain(PER_POLL) + inbox.receive(PER_POLL)
            if box.state in (LAGGING, BROKEN) and self._told.get(box.worker) != box.state:
                self._told[box.worker] = box.state
                self._tell(box)
        return moved

    def _tell(self, box: Outbox) -> None:
        log.warning("worker %d is %s: %s", box.worker, box.state, box.reason)
        handler = self.on_broken if box.state == BROKEN else self.on_lagging
        if handler is not None:
            try:
                handler(box.worker, box.reason)
            except Exception:
                log.exception("handling that worker %d is %s", box.worker, box.state)

    def _busy(self) -> bool:
        return any(box.unanswered or not box.idle for box, _ in self._links.values())

    async def run(self) -> None:
        """Poll until cancelled."""
        pause, quiet = self._fast, 0
        while True:
            if self.poll() or self._busy():
                pause, quiet = self._fast, 0
            else:
                # Recent traffic often has more behind it: slow down only after 50 quiet polls.
                quiet += 1
                pause = self._fast if quiet < 50 else min(pause * 1.5, self._slow)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
                # A message was just sent; its answer takes a moment, not the rest of the pause.
                self._wake.clear()
                await asyncio.sleep(self._fast)

    def status(self) -> dict[int, dict[str, Any]]:
        """Worker -> state and counters of its stream, as plain data."""
        return {
            box.worker: {
                "state": box.state,
                "reason": box.reason,
                "sent": box.number,
                "skipped": box.skipped,
                "waiting_bytes": box.waiting_bytes,
                "unanswered": len(box.unanswered),
                "late_replies": inbox.late_replies,
                "malformed": inbox.malformed,
                "missed_events": inbox.missed_events,
                "unknown_events": inbox.unknown_events,
            }
            for box, inbox in self._links.values()
        }

    def settled(self, worker: int) -> bool:
        """Whether everything sent to ``worker`` is in its ring."""
        box = self._box(worker)
        return box.state == UP and box.idle
