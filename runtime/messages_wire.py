"""One message: a msgpack map {"v": version, "t": type, "n": number, "k": kind, "b": body}.

Master to worker: ``req`` wants an answer, ``cast`` does not; both are numbered 1, 2, 3, ... in one
stream per worker.  Worker to master: ``rep`` and ``err`` carry the number of their request,
``event`` is numbered by the worker.  Unknown fields are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

VERSION = 1
REQUEST, CAST, REPLY, ERROR, EVENT = "req", "cast", "rep", "err", "event"
KINDS = (REQUEST, CAST, REPLY, ERROR, EVENT)

# Message types of the layer itself.
SYNC_BEGIN = "sync.begin"
SYNC_END = "sync.end"
RESYNC = "resync"
FAULT = "error"

# Codes in the body of an ``err``, with the numbers of the reference's error codes.
INVALID, UNSUPPORTED, CALLBACK_FAILED, NO_ROOM = -1, -14, -23, -19

# The largest header around type and body: map, five keys, version, 64-bit number, kind.
_OVERHEAD = 40
_MAX_NUMBER = 2**63 - 1
_HEAD = b"\x85\xa1v" + msgpack.packb(VERSION) + b"\xa1t"
_PACKED_KIND = {kind: msgpack.packb(kind) for kind in KINDS}


class MessageError(Exception):
    """A message could not be delivered or answered; the text names worker and type."""


class MessageTooLarge(MessageError):
    """The message can never fit the ring."""


class BodyError(MessageError):
    """The body holds something msgpack has no form for."""


class MalformedMessage(MessageError):
    """Bytes that are no message of this protocol."""


class WorkerDown(MessageError):
    """The worker is not running (it gets a snapshot when it is)."""


class WorkerLagging(MessageError):
    """The worker does not take its messages; it needs a new snapshot."""


class WorkerBroken(MessageError):
    """The ring to the worker is destroyed; only a restart of the worker helps."""


class MessageTimeout(MessageError):
    """No answer before the deadline."""

    def __init__(self, worker: int, kind: str, deadline: float) -> None:
        self.worker, self.type, self.deadline = worker, kind, deadline
        super().__init__(f"worker {worker} did not answer {kind} within {deadline:g} s")


class RequestFailed(MessageError):
    """The worker answered with an error: ``code`` (negative) and ``reason``."""

    def __init__(self, worker: int, kind: str, code: int, reason: str) -> None:
        self.worker, self.type, self.code, self.reason = worker, kind, code, reason
        super().__init__(f"worker {worker}, {kind}: {reason} ({code})")


class Refused(Exception):
    """Raised by a worker's handler to answer with ``code`` (negative) and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded message."""

    type: str
    number: int
    kind: str
    body: Any


def pack_body(body: Any) -> bytes:
    """``body`` as msgpack; BodyError when it has no such form."""
    try:
        packed: bytes = msgpack.packb(body, use_bin_type=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as problem:
        raise BodyError(f"body cannot be encoded: {problem}") from None
    return packed


def encode(kind: str, name: str, number: int, body: bytes) -> bytes:
    """A message around an already packed ``body`` (packed once, sent to many workers)."""
    pack = msgpack.packb
    return b"".join(
        (_HEAD, pack(name), b"\xa1n", pack(number), b"\xa1k", _PACKED_KIND[kind], b"\xa1b", body)
    )


def size_bound(name: str, body: bytes) -> int:
    """Bytes that ``encode`` never exceeds, whatever the number."""
    return _OVERHEAD + len(name.encode()) + len(body)


def decode(data: bytes) -> Message:
    """The message in ``data``; MalformedMessage when it is none."""
    try:
        raw = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except Exception as problem:  # msgpack's own errors, bad UTF-8, unhashable keys, recursion, ...
        raise MalformedMessage(f"not msgpack: {type(problem).__name__}") from None
    if not isinstance(raw, dict):
        raise MalformedMessage("not a map")
    version, name, number, kind = (raw.get(key) for key in "vtnk")
    if version != VERSION:
        raise MalformedMessage(f"its version is missing or not {VERSION}")
    if not isinstance(name, str) or not isinstance(kind, str) or kind not in KINDS:
        raise MalformedMessage("its type or kind is missing or wrong")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _MAX_NUMBER:
        raise MalformedMessage("its number is missing or wrong")
    return Message(name, number, kind, raw.get("b"))
