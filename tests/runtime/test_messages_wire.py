"""Encoding of messages: round trips, and garbage of every kind."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import messages_wire as wire

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
)
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.sampled_from(wire.KINDS), st.text(max_size=300), st.integers(0, 2**63 - 1), BODIES)
def test_round_trip(kind, name, number, body):
    packed = wire.pack_body(body)
    data = wire.encode(kind, name, number, packed)
    assert len(data) <= wire.size_bound(name, packed)
    assert wire.decode(data) == wire.Message(name, number, kind, body)
    assert msgpack.unpackb(data) == {"v": 1, "t": name, "n": number, "k": kind, "b": body}


def test_unknown_fields_are_ignored():
    data = msgpack.packb({"v": 1, "t": "x", "n": 3, "k": "req", "b": 1, "later": [1], 7: 8})
    assert wire.decode(data) == wire.Message("x", 3, "req", 1)


def test_missing_body_is_none():
    assert wire.decode(msgpack.packb({"v": 1, "t": "x", "n": 3, "k": "cast"})).body is None


@given(st.binary(max_size=200))
def test_garbage_is_malformed_and_nothing_else(data):
    with pytest.raises(wire.MalformedMessage):
        wire.decode(data)


@given(BODIES)
def test_any_msgpack_value_that_is_no_message(value):
    with pytest.raises(wire.MalformedMessage):
        wire.decode(msgpack.packb(value))


GOOD = {"v": 1, "t": "x", "n": 3, "k": "req", "b": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 2),
        ("v", None),
        ("v", [[]]),
        ("t", 5),
        ("t", None),
        ("n", -1),
        ("n", "3"),
        ("n", True),
        ("n", 2**64 - 1),
        ("k", "ask"),
        ("k", ["req"]),
        ("k", None),
    ],
)
def test_wrong_fields(field, value):
    wire.decode(msgpack.packb(GOOD))
    with pytest.raises(wire.MalformedMessage):
        wire.decode(msgpack.packb({**GOOD, field: value}))


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x90\x01",  # a list as a key
        b"\x91" * 5000 + b"\xc0",  # nested without end
        b"\xd6\xff\xff\xff\xff\xff",  # time stamp extension
        b"\xa2\xff\xfe",  # not UTF-8
        b"\xdd\xff\xff\xff\xff",  # a list of four milliard elements
        b"\xc1",
        msgpack.packb(GOOD) + b"\x00",
    ],
)
def test_hostile_msgpack(data):
    with pytest.raises(wire.MalformedMessage):
        wire.decode(data)


@pytest.mark.parametrize("body", [object(), 2**64, {1, 2}, "\ud800"])
def test_bodies_without_a_form(body):
    with pytest.raises(wire.BodyError, match="cannot be encoded"):
        wire.pack_body(body)


def test_endless_body():
    body: list = []
    body.append(body)
    with pytest.raises(wire.BodyError):
        wire.pack_body(body)
