"""What the master reads from one worker: replies go to their requests, events to handlers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from runtime.messages_outbox import BROKEN, Outbox
from runtime.messages_wire import (
    ERROR,
    EVENT,
    INVALID,
    REPLY,
    MalformedMessage,
    Message,
    RequestFailed,
    decode,
)
from runtime.ring import RingCorrupt

log = logging.getLogger(__name__)

EventHandler = Callable[[int, Any], None]
"""Called with the worker and the body of an event."""


class Inbox:
    """Reader of a worker's ring; ``events`` (type -> handler) is shared by all workers."""

    def __init__(self, box: Outbox, events: dict[str, EventHandler]) -> None:
        self._box, self._events = box, events
        self._last_event = 0
        self.late_replies = 0
        """Replies that came after the deadline of their request."""
        self.malformed = 0
        self.missed_events = 0
        """Events that the full ring did not take, by their numbers."""
        self.unknown_events = 0

    def restart(self) -> None:
        """The next process of the worker numbers its events from 1 again."""
        self._last_event = 0

    def receive(self, most: int) -> int:
        """Read and deliver up to ``most`` messages; how many there were.  Never raises."""
        ring = self._box.channel.to_master
        count = 0
        while count < most and self._box.state != BROKEN:
            try:
                data = ring.pop()
            except RingCorrupt as problem:
                self.malformed += 1
                log.error("from worker %d: %s", self._box.worker, problem)
                self._repair(str(problem))
                break
            if data is None:
                break
            count += 1
            try:
                self._deliver(decode(data))
            except MalformedMessage as problem:
                self.malformed += 1
                log.error("from worker %d: malformed message: %s", self._box.worker, problem)
        return count

    def _repair(self, reason: str) -> None:
        try:
            repaired = self._box.channel.to_master.discard()
        except RingCorrupt:
            repaired = False
        if not repaired:
            self._box.broken(reason)

    def _deliver(self, message: Message) -> None:
        if message.kind == EVENT:
            self._event(message)
        elif message.kind in (REPLY, ERROR):
            asked = self._box.unanswered.pop(message.number, None)
            if asked is None or asked.waiter is None or asked.waiter.done():
                self.late_replies += 1
            elif message.kind == REPLY:
                asked.waiter.set_result(message.body)
            else:
                asked.waiter.set_exception(_failure(self._box.worker, asked.type, message.body))
        else:
            raise MalformedMessage(f"unexpected {message.kind}")

    def _event(self, message: Message) -> None:
        worker = self._box.worker
        self.missed_events += max(0, message.number - self._last_event - 1)
        self._last_event = message.number
        handler = self._events.get(message.type)
        if handler is None:
            self.unknown_events += 1
            log.info("worker %d: event %s: %.200r", worker, message.type, message.body)
            return
        try:
            handler(worker, message.body)
        except Exception:
            log.exception("handling event %s of worker %d", message.type, worker)


def _failure(worker: int, kind: str, body: Any) -> RequestFailed:
    fields = body if isinstance(body, dict) else {}
    code, text = fields.get("code"), fields.get("text")
    return RequestFailed(
        worker, kind, code if isinstance(code, int) else INVALID, str(text or "no reason given")
    )
