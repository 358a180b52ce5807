"""Kernel taps of a process: descriptors, signals, and workers that wait for packets."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_running import running

from netdev import tap
from tests.waiting import eventually

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

TUNSETIFF = 0x400454CA
TAP, NO_PACKET_INFO, MULTI_QUEUE = 0x2, 0x1000, 0x100
PPOLL = {"x86_64": "271", "aarch64": "73"}[os.uname().machine]


@pytest.fixture
def taps() -> Iterator[dict[str, list[int]]]:
    """Two taps of this process, with two queues and with one."""
    opened: dict[str, list[int]] = {f"dpvst{os.getpid() % 10**6}{i}": [] for i in range(2)}
    for count, name in zip((2, 1), opened, strict=True):
        for _ in range(count):
            fd = os.open(tap.DEVICE, os.O_RDWR | os.O_NONBLOCK)
            opened[name].append(fd)
            fcntl.ioctl(fd, TUNSETIFF, struct.pack(
                "16sH14x", name.encode(), TAP | NO_PACKET_INFO | (MULTI_QUEUE if count > 1 else 0)
            ))  # fmt: skip
    yield opened
    for fds in opened.values():
        for fd in fds:
            os.close(fd)


def test_descriptors_of_a_tap_are_found(taps: dict[str, list[int]]) -> None:
    for name, fds in taps.items():
        assert tap.descriptors(name) == fds
    assert tap.descriptors("nobody") == []
    two, one = taps
    found = tap.poll_set([(two, 1), (one, 0), (one, 1), ("nobody", 0)])
    assert [(row.fd, row.revents) for row in found] == [(taps[two][1], 0), (taps[one][0], 0)]


def test_signals_are_switched_off(taps: dict[str, list[int]]) -> None:
    fds = [fd for some in taps.values() for fd in some]
    fcntl.fcntl(fds[1], fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    assert tap.no_signals() == 1
    for fd in fds:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        assert not flags & os.O_ASYNC and flags & os.O_NONBLOCK
    assert tap.no_signals() == 0


def test_workers_wait_for_packets_and_nobody_is_signalled() -> None:
    with running(workers=2) as lb:
        for row in lb.control.call("status")["workers"]:
            process = Path(f"/proc/{row['pid']}")
            taps = 0
            for entry in (process / "fd").iterdir():
                if os.readlink(entry) == tap.DEVICE:
                    info = (process / "fdinfo" / entry.name).read_text()
                    flags = next(line for line in info.splitlines() if line.startswith("flags"))
                    assert not int(flags.split()[1], 8) & os.O_ASYNC
                    taps += 1
            assert taps == 8  # two queues to receive, two to send, on two ports

            def waiting(process: Path = process) -> bool:
                words = (process / "syscall").read_text().split()
                return words[0] == PPOLL and words[2] == "0x2"

            eventually(waiting, "it waits for its queue of both ports")
