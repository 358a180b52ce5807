"""Messages between the master and its workers: the public names of ``runtime.messages_*``.

``MasterPort`` (asyncio) and ``WorkerPort`` (synchronous) share a ``Channel`` of two byte rings.
Every worker follows one numbered stream that begins with a snapshot; a worker that missed a number
ignores updates and asks for a new snapshot, so no replica is ever silently wrong.
"""

from __future__ import annotations

from runtime.messages_channel import Channel, channel_bytes
from runtime.messages_master import MasterPort
from runtime.messages_outbox import Record
from runtime.messages_wire import (
    BodyError,
    MalformedMessage,
    Message,
    MessageError,
    MessageTimeout,
    MessageTooLarge,
    Refused,
    RequestFailed,
    WorkerBroken,
    WorkerDown,
    WorkerLagging,
    decode,
    encode,
    pack_body,
)
from runtime.messages_worker import WorkerPort

__all__ = [
    "BodyError",
    "Channel",
    "MalformedMessage",
    "MasterPort",
    "Message",
    "MessageError",
    "MessageTimeout",
    "MessageTooLarge",
    "Record",
    "Refused",
    "RequestFailed",
    "WorkerBroken",
    "WorkerDown",
    "WorkerLagging",
    "WorkerPort",
    "channel_bytes",
    "decode",
    "encode",
    "pack_body",
]
