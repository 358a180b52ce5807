"""The timer wheel against a naive model, over clock jumps and the wrap of the clock."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import wheel
from runtime.wheel import HORIZON, SLOTS, Wheel, WheelStruct

SLOT = 1 << wheel.SLOT_SHIFT
CAPACITY = 32
MASK = 0xFFFFFFFF


class Timers:
    """A wheel, its links, and a clock that never wraps."""

    def __init__(self, now=0):
        self.struct = WheelStruct()
        self.links = (ctypes.c_uint32 * (2 * (CAPACITY + 1)))()
        self.at = ctypes.addressof(self.struct)
        wheel.initialise(self.at, ctypes.addressof(self.links), now & MASK)
        self.now = now
        self.due = {}  # number -> earliest and latest time it may come up

    def arm(self, number, delay):
        """The wheel must have been swept up to now."""
        wheel.arm(self.at, number, delay)
        delay = min(delay, HORIZON)
        self.due[number] = (self.now + delay, self.now + delay + 3 * SLOT)

    def disarm(self, number):
        assert wheel.disarm(self.at, number) == int(number in self.due)
        self.due.pop(number, None)

    def sweep(self):
        """Everything that is due now; checked against the model."""
        came = []
        while True:
            number = wheel.due(self.at, self.now & MASK)
            if number == 0:
                break
            came.append(number)
            early, _ = self.due.pop(number)
            assert self.now >= early, "never before its time"
        for number, (_, late) in self.due.items():
            assert self.now < late, f"{number} is overdue"
        assert Wheel(self.at).armed == len(self.due)
        return came


steps = st.lists(
    st.one_of(
        st.tuples(st.just("arm"), st.integers(1, CAPACITY), st.integers(0, 2 * HORIZON)),
        st.tuples(st.just("arm"), st.integers(1, CAPACITY), st.integers(0, 5000)),
        st.tuples(st.just("disarm"), st.integers(1, CAPACITY), st.just(0)),
        st.tuples(st.just("pass"), st.just(0), st.integers(0, 4000)),
        st.tuples(st.just("pass"), st.just(0), st.integers(0, 3 * HORIZON)),
    ),
    max_size=40,
)


@given(steps, st.sampled_from([0, 12345, 2**32 - 10_000, 2**32 - HORIZON, 2**31 - 999]))
def test_any_sequence(sequence, start):
    timers = Timers(start)
    for kind, number, value in sequence:
        if kind == "arm":
            timers.disarm(number)
            timers.arm(number, value)
        elif kind == "disarm":
            timers.disarm(number)
        else:
            timers.now += value
        timers.sweep()


@pytest.mark.parametrize("start", [0, 255, 2**32 - 1, 2**32 - 700, 2**40 + 3])
@pytest.mark.parametrize("delay", [0, 1, 255, 256, 257, 999, 1000, 30_000, HORIZON - 1, HORIZON])
def test_comes_up_after_its_time_and_within_three_slots(start, delay):
    timers = Timers(start)
    timers.arm(5, delay)
    timers.now = start + delay - 1
    assert timers.sweep() == []
    timers.now = start + delay + 3 * SLOT
    assert timers.sweep() == [5]


def test_many_in_one_slot_come_up_once_each():
    timers = Timers(1000)
    for number in range(1, CAPACITY + 1):
        timers.arm(number, 500)
    for number in (1, 7, CAPACITY):
        timers.disarm(number)
    timers.now += 2000
    came = timers.sweep()
    assert sorted(came) == [n for n in range(1, CAPACITY + 1) if n not in (1, 7, CAPACITY)]
    assert timers.sweep() == []


def test_disarming_twice_or_never_armed_is_nothing():
    timers = Timers()
    assert wheel.disarm(timers.at, 3) == 0
    timers.arm(3, 1000)
    assert wheel.disarm(timers.at, 3) == 1
    assert wheel.disarm(timers.at, 3) == 0
    assert Wheel(timers.at).armed == 0


@pytest.mark.parametrize("start", [0, 2**32 - 5000])
@pytest.mark.parametrize("jump", [SLOTS * SLOT, 10 * SLOTS * SLOT])
def test_after_a_long_pause_everything_due_comes_up(start, jump):
    timers = Timers(start)
    for number in range(1, 20):
        timers.arm(number, number * 50_000)
    timers.now += jump
    assert sorted(timers.sweep()) == list(range(1, 20))
    timers.arm(4, 1000)
    timers.now += 1000 + 3 * SLOT
    assert timers.sweep() == [4]


def test_a_small_step_back_of_the_clock_is_waited_for():
    timers = Timers(1_000_000)
    timers.arm(1, 1000)
    timers.now -= 2000
    assert timers.sweep() == []
    timers.now = 1_000_000 + 1000 + 3 * SLOT
    assert timers.sweep() == [1]


def test_after_a_large_step_back_timers_go_on():
    """As when a virtual machine moves: without this nothing would expire for days."""
    timers = Timers(10 * HORIZON)
    timers.arm(1, 1000)
    timers.due.clear()
    timers.now = 5000
    wheel.due(timers.at, timers.now)
    wheel.disarm(timers.at, 1)
    timers.arm(2, 1000)
    timers.now += 1000 + 3 * SLOT
    assert timers.sweep() == [2]
