"""The worker's end of the messages: short, synchronous visits between two bursts of packets.

The poll loop asks ``runtime.ring_core.pending(port.address)`` (one acquire load) and leaves
compiled code only when a message waits.  Nothing that arrives can make the worker fail, except a
ring that its producer has destroyed (RingCorrupt): then it can hear nobody and must be replaced.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from runtime.messages_channel import Channel
from runtime.messages_wire import (
    CALLBACK_FAILED,
    CAST,
    ERROR,
    EVENT,
    FAULT,
    INVALID,
    NO_ROOM,
    REPLY,
    REQUEST,
    RESYNC,
    SYNC_BEGIN,
    SYNC_END,
    UNSUPPORTED,
    BodyError,
    MalformedMessage,
    Message,
    Refused,
    decode,
    encode,
    pack_body,
)
from runtime.ring import RingCorrupt, RingTooLong

log = logging.getLogger(__name__)

Handler = Callable[[Any], Any]
"""Called with the body; its result is the body of the reply (of no use for a cast)."""


class WorkerPort:
    """Reads what the master sends, answers, and emits events."""

    def __init__(self, channel: Channel) -> None:
        self._in, self._out = channel.to_worker, channel.to_master
        self._handlers: dict[str, Handler] = {SYNC_BEGIN: _nothing, SYNC_END: _nothing}
        self._expected: int | None = None
        self._resync: dict[str, Any] | None = None
        self._asked = False
        self._events = 0
        self.synced = False
        """Whether the stream is whole since the last snapshot began; casts apply only then."""
        self.handled = 0
        self.malformed = 0
        self.missed = 0
        """Messages that never came, by their numbers."""
        self.ignored = 0
        """Casts not applied because updates before them are missing."""
        self.failed = 0
        """Handler calls that raised."""
        self.lost_replies = 0
        """Replies the full ring did not take: the master's request runs into its deadline."""
        self.lost_events = 0

    @property
    def address(self) -> int:
        """Address of the ring to watch with ``ring_core.pending``."""
        return self._in.address

    def on(self, kind: str, handler: Handler) -> None:
        """Call ``handler(body)`` for requests and casts of type ``kind``.

        ``sync.begin`` and ``sync.end`` enclose a snapshot and may be handled too.  A handler may
        raise Refused to answer with a code of its own.
        """
        self._handlers[kind] = handler

    def handle_some(self, max_messages: int = 8, budget_us: int = 50) -> int:
        """Handle waiting messages, at most ``max_messages`` and about ``budget_us`` of time.

        At least one is handled when one waits; the answer is how many were.  Raises RingCorrupt
        when the ring is beyond repair.
        """
        end = time.perf_counter_ns() + budget_us * 1000
        done = 0
        while done < max_messages:
            try:
                data = self._in.pop()
            except RingCorrupt as problem:
                self.malformed += 1
                if not self._in.discard():
                    raise
                self._lose(str(problem))
                continue
            if data is None:
                break
            done += 1
            self._handle(data)
            if time.perf_counter_ns() >= end:
                break
        if self._resync is not None and self._event(RESYNC, self._resync):
            self._resync = None
        self.handled += done
        return done

    def _handle(self, data: bytes) -> None:
        try:
            message = decode(data)
        except MalformedMessage as problem:
            self.malformed += 1
            self.emit(FAULT, {"text": f"malformed message: {problem}"})
            return
        if message.kind not in (REQUEST, CAST):
            self.malformed += 1
            self._fail(message, INVALID, f"a worker takes no {message.kind}")
        elif not self._in_sequence(message):
            self.ignored += 1
        else:
            self._dispatch(message)

    def _in_sequence(self, message: Message) -> bool:
        """Follow the numbers; False for a cast that must not be applied."""
        if message.type == SYNC_BEGIN:
            self.synced, self._asked, self._resync = True, False, None
        elif self._expected is not None and message.number != self._expected:
            self.missed += max(1, message.number - self._expected)
            self._lose(f"message {message.number} came instead of {self._expected}")
        elif not self.synced and message.kind != REQUEST:
            self._lose("updates without a snapshot")
        self._expected = message.number + 1
        return self.synced or message.kind == REQUEST

    def _lose(self, reason: str) -> None:
        self.synced = False
        # Asked once: the snapshot is on its way, and asking again would only repeat it.
        if not self._asked:
            self._asked, self._resync = True, {"reason": reason, "missed": self.missed}

    def _dispatch(self, message: Message) -> None:
        handler = self._handlers.get(message.type)
        if handler is None:
            self._fail(message, UNSUPPORTED, f"unknown message type {message.type}")
            return
        try:
            result = handler(message.body)
            body = pack_body(result) if message.kind == REQUEST else b""
        except Refused as problem:
            self._fail(message, problem.code, str(problem))
        except BodyError as problem:
            self._fail(message, INVALID, str(problem))
        except Exception as problem:
            self.failed += 1
            log.exception("handler of %s", message.type)
            self._fail(message, CALLBACK_FAILED, f"{type(problem).__name__}: {problem}")
        else:
            if message.kind == REQUEST:
                self._answer(message, REPLY, body)

    def _fail(self, message: Message, code: int, reason: str) -> None:
        # Cut, and free of what UTF-8 has no form for: an error report must always get through.
        text = reason[:400].encode("utf-8", "replace").decode()
        if message.kind == REQUEST:
            self._answer(message, ERROR, pack_body({"code": code, "text": text}))
        else:
            self.emit(FAULT, {"type": message.type[:80], "code": code, "text": text})

    def _answer(self, message: Message, kind: str, body: bytes) -> None:
        name = message.type[:80]
        try:
            sent = self._push(kind, name, message.number, body)
        except RingTooLong as problem:
            text = pack_body({"code": NO_ROOM, "text": f"reply too large: {problem}"})
            sent = self._push(ERROR, name, message.number, text)
        if not sent:
            self.lost_replies += 1

    def emit(self, kind: str, body: Any = None) -> bool:
        """Send an event to the master; False, and counted, when the ring does not take it."""
        if self._event(kind, body):
            return True
        # The number is used up, so that the master sees that one is missing.
        self._events += 1
        self.lost_events += 1
        return False

    def _event(self, kind: str, body: Any) -> bool:
        try:
            sent = self._push(EVENT, kind, self._events + 1, pack_body(body))
        except (RingTooLong, BodyError) as problem:
            log.error("event %s: %s", kind, problem)
            return False
        self._events += sent
        return sent

    def _push(self, kind: str, name: str, number: int, body: bytes) -> bool:
        try:
            return self._out.push(encode(kind, name, number, body))
        except RingCorrupt as problem:
            log.error("cannot send %s to the master: %s", name, problem)
            return False


def _nothing(body: Any) -> None:
    return None
