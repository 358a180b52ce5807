"""Idling of a worker: spin, pause, sleep; wait where there is something to wait for."""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Iterator

import pytest

from ipvs.control import Control, ControlStruct
from ipvs.loop import PAUSE, SPIN, rest
from netdev import tap
from netdev.tap import PollStruct

SLEEP = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


class Idle:
    """A loop's control with a pipe in place of a tap, and a sleep that is noted."""

    def __init__(self) -> None:
        self.struct = ControlStruct(idle_sleep_us=200)
        self.address = ctypes.addressof(self.struct)
        self.control = Control(self.address)
        self.slept: list[int] = []
        self._sleep = SLEEP(lambda us: self.slept.append(us) or 0)
        self.struct.sleep = ctypes.cast(self._sleep, ctypes.c_void_p).value
        self.reader, self.writer = os.pipe()
        self.set = (PollStruct * 1)(PollStruct(fd=self.reader, events=select.POLLIN))

    def wait_for_it(self) -> None:
        """Let it wait for the pipe."""
        self.struct.ppoll, self.struct.wait_count = tap.ppoll_address(), 1
        self.struct.wait_set = ctypes.addressof(self.set)

    def rest(self, count: int = 1) -> list[int]:
        """What ``count`` empty rounds return."""
        return [rest(self.address) for _ in range(count)]


@pytest.fixture
def idle() -> Iterator[Idle]:
    made = Idle()
    yield made
    os.close(made.reader)
    os.close(made.writer)


def test_sleeps_grow_to_the_limit(idle: Idle) -> None:
    assert not any(idle.rest(PAUSE - 1))
    assert idle.rest(9) == [10] * 8 + [11] and idle.slept == [10] * 8 + [11]
    idle.struct.empty = 1 << 30
    assert idle.rest() == [200] and idle.slept[-1] == 200
    assert idle.struct.sleeps == 10


def test_a_worker_that_always_polls_never_sleeps(idle: Idle) -> None:
    idle.struct.idle_sleep_us = 0
    idle.wait_for_it()
    assert not any(idle.rest(2 * PAUSE)) and not idle.slept and not idle.struct.sleeps


def test_what_there_is_to_wait_for_is_waited_for_soon(idle: Idle) -> None:
    idle.wait_for_it()
    assert not any(idle.rest(SPIN - 1))
    assert idle.rest(9) == [10] * 8 + [11]
    assert not idle.slept and idle.struct.sleeps == 9


def test_a_wait_lasts_until_something_comes(idle: Idle) -> None:
    idle.wait_for_it()
    idle.struct.idle_sleep_us, idle.struct.empty = 50_000, 1 << 30
    began = time.monotonic()
    assert idle.rest() == [50_000] and idle.set[0].revents == 0
    assert time.monotonic() - began >= 0.05
    os.write(idle.writer, b"x")
    idle.rest()
    assert idle.set[0].revents == select.POLLIN


def test_the_longest_configured_sleep_is_one_that_the_kernel_takes(idle: Idle) -> None:
    idle.wait_for_it()
    os.write(idle.writer, b"x")
    idle.struct.idle_sleep_us, idle.struct.empty = 1_000_000, 1 << 30
    idle.rest()
    assert idle.set[0].revents == select.POLLIN and idle.struct.wait_nanoseconds < 10**9
