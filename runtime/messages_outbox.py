"""What the master still has to send to one worker: ordered, never lost, bounded in memory.

The ring is the first buffer.  What finds it full waits here and is sent by the poll task.  Behind
``limit`` bytes the worker counts as lagging: the queue is dropped, because only a new snapshot can
help it now, and the owner is told.  Numbers are given at the moment a message enters the ring, so
the worker sees an unbroken sequence or a gap that is real.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from runtime.messages_channel import Channel
from runtime.messages_wire import (
    CAST,
    REQUEST,
    SYNC_BEGIN,
    SYNC_END,
    MessageError,
    MessageTooLarge,
    WorkerBroken,
    WorkerDown,
    WorkerLagging,
    encode,
    pack_body,
    size_bound,
)
from runtime.ring import RingCorrupt

log = logging.getLogger(__name__)

Record = tuple[str, Any]
"""Type and body of one cast."""

DOWN, UP, LAGGING, BROKEN = "down", "up", "lagging", "broken"
_ERRORS = {DOWN: WorkerDown, LAGGING: WorkerLagging, BROKEN: WorkerBroken}


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message on its way; ``waiter`` is set for requests, ``number`` once it is in the ring."""

    type: str
    kind: str
    body: bytes
    waiter: asyncio.Future[Any] | None = None
    number: int = 0

    @property
    def size(self) -> int:
        return size_bound(self.type, self.body)


class Outbox:
    """The stream of messages to ``worker``."""

    def __init__(self, worker: int, channel: Channel, limit: int) -> None:
        self.worker, self.channel, self.limit = worker, channel, limit
        self.state = DOWN
        self.reason = "not started"
        """Why the worker is down or lagging."""
        self.number = 0
        self.skipped = 0
        """Casts not sent because the worker was down or lagging (a snapshot covers them)."""
        self.waiting_bytes = 0
        self.waiting: deque[Outgoing] = deque()
        self.unanswered: dict[int, Outgoing] = {}
        self._snapshot: Iterator[Outgoing] | None = None
        self._held: Outgoing | None = None

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent."""
        return not self.waiting and self._snapshot is None and self._held is None

    def check_size(self, message: Outgoing) -> None:
        """Raise MessageTooLarge for a message that the ring can never take."""
        most = self.channel.to_worker.max_record
        if message.size > most:
            raise MessageTooLarge(
                f"{message.type} to worker {self.worker}: {message.size} bytes, "
                f"the ring takes {most}"
            )

    def send(self, message: Outgoing) -> None:
        """Send, or queue in order.

        Raises MessageTooLarge, and for a request also WorkerDown, WorkerLagging, WorkerBroken when
        that is the state of the worker.
        """
        self.check_size(message)
        if self.state == UP and self.waiting_bytes + message.size > self.limit:
            self.lag(f"{self.waiting_bytes} bytes of messages wait for it")
        if self.state != UP:
            if message.kind == REQUEST:
                raise self._error()
            self.skipped += 1
            return
        if self.idle and self._put(message):
            return
        self.waiting.append(message)
        self.waiting_bytes += message.size

    def _put(self, message: Outgoing) -> bool:
        if message.waiter is not None and message.waiter.done():
            return True
        number = self.number + 1
        try:
            data = encode(message.kind, message.type, number, message.body)
            if not self.channel.to_worker.push(data):
                return False
        except RingCorrupt as problem:
            self._held = message
            self.broken(str(problem))
            return True
        self.number = message.number = number
        if message.waiter is not None:
            self.unanswered[number] = message
        return True

    def drain(self, most: int) -> int:
        """Move up to ``most`` waiting messages into the ring; how many went."""
        sent = 0
        while sent < most and self.state == UP:
            message = self._next()
            if message is None:
                break
            if not self._put(message):
                self._held = message
                break
            sent += 1
        return sent

    def _next(self) -> Outgoing | None:
        message, self._held = self._held, None
        if message is None and self._snapshot is not None:
            try:
                message = next(self._snapshot, None)
                if message is not None:
                    self.check_size(message)
            except Exception as problem:
                log.exception("snapshot for worker %d", self.worker)
                self.lag(f"its snapshot failed: {problem}")
                return None
            if message is None:
                self._snapshot = None
        if message is None and self.waiting:
            message = self.waiting.popleft()
            self.waiting_bytes -= message.size
        return message

    def lag(self, reason: str) -> None:
        """Give up the stream until ``reset``; requests under way fail with WorkerLagging."""
        self._drop(LAGGING, reason)

    def broken(self, reason: str) -> None:
        """A ring is destroyed: give up until the worker has been replaced (``down``, ``reset``)."""
        self._drop(BROKEN, reason)

    def down(self, reason: str) -> None:
        """The worker has exited; requests under way fail with WorkerDown, the rings are emptied."""
        self._drop(DOWN, reason)
        self.channel.clear()

    def _error(self) -> MessageError:
        return _ERRORS[self.state](f"worker {self.worker} is {self.state}: {self.reason}")

    def _drop(self, state: str, reason: str) -> None:
        self.state, self.reason = state, reason
        lost = [*self.waiting, *self.unanswered.values()]
        if self._held is not None:
            lost.append(self._held)
        self.skipped += sum(1 for message in lost if message.kind == CAST)
        self.waiting.clear()
        self.unanswered.clear()
        self.waiting_bytes, self._snapshot, self._held = 0, None, None
        for message in lost:
            if message.waiter is not None and not message.waiter.done():
                message.waiter.set_exception(self._error())

    def reset(self, records: Iterable[Record]) -> None:
        """Start the stream anew: ``sync.begin``, the snapshot ``records``, ``sync.end``, then on.

        Casts that wait are dropped (the snapshot has their effect); requests keep their place.
        ``records`` is read lazily as the ring takes it, so it must not change meanwhile.  Raises
        WorkerBroken when only a restart of the worker can help.
        """
        if self.state == BROKEN:
            raise self._error()
        held = [self._held] if self._held is not None else []
        requests = [m for m in [*held, *self.waiting] if m.kind == REQUEST]
        self.waiting = deque(requests)
        self.waiting_bytes = sum(message.size for message in requests)
        self._held = None
        self._snapshot = _snapshot(records)
        self.state, self.reason = UP, ""


def _snapshot(records: Iterable[Record]) -> Iterator[Outgoing]:
    yield Outgoing(SYNC_BEGIN, CAST, pack_body({}))
    count = 0
    for name, body in records:
        yield Outgoing(name, CAST, pack_body(body))
        count += 1
    yield Outgoing(SYNC_END, CAST, pack_body({"records": count}))
