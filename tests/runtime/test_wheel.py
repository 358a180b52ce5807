"""The timer wheel against a sorted list, with wrapping and jumping clocks."""

from __future__ import annotations

import ctypes
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import wheel

ENTRIES = 40
SLOT_MS = 1 << wheel.SLOT_SHIFT


class Wheel:
    """A wheel with its memory; the clock counts on here and wraps for the wheel."""

    def __init__(self, now):
        self.links = (ctypes.c_int64 * (ENTRIES + 1))()
        self.memory = wheel.WheelStruct()
        self.at = ctypes.addressof(self.memory)
        wheel.initialise(self.at, ctypes.addressof(self.links), now & 0xFFFFFFFF)

    def arm(self, number, delay):
        wheel.arm(self.at, number, delay)

    def disarm(self, number):
        return wheel.disarm(self.at, number)

    def sweep(self, now):
        """All that came up by ``now``."""
        found = []
        while number := wheel.due(self.at, now & 0xFFFFFFFF):
            found.append(number)
        return found


STARTS = st.sampled_from([0, 1, 255, 256, (1 << 32) - 1000, (1 << 31) - 500, (1 << 32) - 1])
STEPS = st.lists(
    st.tuples(st.just("arm"), st.integers(1, ENTRIES), st.integers(0, 2 * wheel.HORIZON))
    | st.tuples(st.just("disarm"), st.integers(1, ENTRIES), st.just(0))
    | st.tuples(
        st.just("pass"), st.just(0), st.integers(0, 3000) | st.integers(0, 3 * wheel.HORIZON)
    ),
    max_size=40,
)


@settings(max_examples=50)
@given(STARTS, STEPS)
def test_against_a_list(start, steps):
    """An entry comes up at most a slot before its time and two slots after, in slot order."""
    w, now, armed = Wheel(start), start, {}
    for what, number, amount in steps:
        if what == "arm" and number not in armed:
            w.arm(number, amount)
            armed[number] = now + min(amount, wheel.HORIZON)
        elif what == "disarm":
            assert w.disarm(number) == (armed.pop(number, None) is not None)
        elif what == "pass":
            now += amount
            found = w.sweep(now)
            times = [armed.pop(number) for number in found]
            assert all(time <= now + SLOT_MS for time in times)
            assert all(time > now - 2 * SLOT_MS for time in armed.values())
            slots = [time // SLOT_MS for time in times]
            assert all(a <= b + 1 for a, b in pairwise(slots))
    assert w.memory.armed == len(armed)
    assert sorted(w.sweep(now + 2 * wheel.HORIZON)) == sorted(armed)
    assert w.memory.armed == 0 and not any(w.memory.heads)


@pytest.mark.parametrize("start", [0, (1 << 32) - 5000, (1 << 31) - 5000])
def test_never_early_never_late(start):
    w = Wheel(start)
    w.arm(1, 3000)
    came = next(ms for ms in range(0, 10000, 10) if w.sweep(start + ms))
    assert 3000 - SLOT_MS <= came <= 3000 + 2 * SLOT_MS


@pytest.mark.parametrize("turns", [1, 2, 1000])
def test_many_turns_of_the_32_bit_clock(turns):
    """After 49 days and more: the slot number has gone on, the clock started again."""
    w, now = Wheel(0), (turns << 32) - 700
    w.memory.slot = now >> wheel.SLOT_SHIFT
    for _ in range(3):
        w.arm(7, 1000)
        assert w.sweep(now + 100) == []
        now += 2000
        assert w.sweep(now) == [7]


def test_clock_that_steps_back_brings_up_nothing():
    w = Wheel(1_000_000)
    w.arm(1, 0)
    assert w.sweep(900_000) == []
    assert w.sweep(1_001_000) == [1]


def test_disarm_anywhere_in_a_slot():
    for gone in (1, 2, 3):
        w = Wheel(0)
        for number in (1, 2, 3):
            w.arm(number, 1000)
        assert w.disarm(gone) == 1
        assert w.disarm(gone) == 0
        assert sorted(w.sweep(5000)) == [n for n in (1, 2, 3) if n != gone]
