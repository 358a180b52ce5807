"""Frames of the control socket, whole, in pieces, and damaged."""

import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.frames import MAX_FRAME, FrameDecoder, FrameError, encode

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary()
messages = st.dictionaries(st.text(), st.recursive(scalars, st.lists, max_leaves=8))


@given(st.lists(messages, max_size=5), st.integers(1, 50))
def test_any_split_gives_the_same_messages(sent, size):
    stream = b"".join(encode(message) for message in sent)
    decoder = FrameDecoder()
    received = []
    for start in range(0, len(stream), size):
        received += decoder.feed(stream[start : start + size])
    assert received == sent
    assert decoder.pending == 0


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_awaited_never_a_crash(data):
    try:
        FrameDecoder().feed(data)
    except FrameError as fault:
        assert str(fault)


def test_length_above_the_limit_is_refused_at_once():
    with pytest.raises(FrameError, match="announces"):
        FrameDecoder().feed(struct.pack(">I", MAX_FRAME + 1))
    assert FrameDecoder().feed(struct.pack(">I", MAX_FRAME)) == []


@pytest.mark.parametrize("body", [b"", b"\x81", b"\x90", b"\x01\x02", msgpack.packb({1: 2})])
def test_body_that_is_not_one_map_is_refused(body):
    with pytest.raises(FrameError):
        FrameDecoder().feed(struct.pack(">I", len(body)) + body)


@pytest.mark.parametrize("message", [{"x": object()}, {"x": 2**64}, {"x": "\ud800"}])
def test_what_msgpack_cannot_carry_is_refused(message):
    with pytest.raises(FrameError, match="cannot be encoded"):
        encode(message)


def test_message_above_the_limit_is_refused():
    with pytest.raises(FrameError, match="limit"):
        encode({"x": b"0" * MAX_FRAME})
