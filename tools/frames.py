"""Frames of the native control socket: a 4-byte big-endian length, then one msgpack map.

Both ends of the socket use this file, so that the two limits that matter (how large a message may
be, and that it is exactly one map with text keys) are written once.
"""

import struct
from typing import Any

import msgpack

MAX_FRAME = 16 * 1024 * 1024
"""Largest body of a frame, in bytes. A longer announcement is refused before anything is kept."""

_LENGTH = struct.Struct(">I")


class FrameError(ValueError):
    """A frame that breaks the rules; the text says which. The stream cannot be read further."""


def encode(message: dict[str, Any]) -> bytes:
    """One message as the bytes of a frame.

    Raises FrameError when the message holds something msgpack cannot carry or is too long.
    """
    try:
        body = msgpack.packb(message, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as fault:
        raise FrameError(f"the message cannot be encoded: {fault}") from fault
    if len(body) > MAX_FRAME:
        raise FrameError(f"the message has {len(body)} bytes, more than the limit of {MAX_FRAME}")
    return _LENGTH.pack(len(body)) + body


class FrameDecoder:
    """Turns the bytes of a stream, in whatever pieces they arrive, back into messages."""

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished frame are waiting for the rest."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Take the next bytes of the stream and return the messages they complete, in order.

        Raises FrameError on a length above the limit or a body that is not one map.
        """
        self._buffer += data
        messages = []
        offset = 0
        while len(self._buffer) - offset >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, offset)
            if length > self._max_frame:
                raise FrameError(f"a frame announces {length} bytes; at most {self._max_frame}")
            end = offset + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(_decode_body(bytes(self._buffer[offset + _LENGTH.size : end])))
            offset = end
        # One removal for all finished frames: taking each off the front would copy the rest of
        # the buffer once for every message.
        del self._buffer[:offset]
        return messages


def _decode_body(body: bytes) -> dict[str, Any]:
    try:
        message = msgpack.unpackb(body, raw=False, strict_map_key=True)
    except Exception as fault:  # msgpack raises several unrelated types on damaged input
        raise FrameError(f"the frame is not msgpack: {fault or type(fault).__name__}") from fault
    if not isinstance(message, dict):
        raise FrameError(f"the frame holds a {type(message).__name__}, not a map")
    return message
