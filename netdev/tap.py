"""Kernel taps of this process: their descriptors, and waiting for packets on them.

A tap stands in for a network card in labs, where cpus are shared: a worker that waits for its
packets leaves the cpu to those who make them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
from collections.abc import Iterator, Sequence
from pathlib import Path

DEVICE = "/dev/net/tun"


class PollStruct(ctypes.Structure):
    """struct pollfd of poll(2)."""

    _fields_ = [
        ("fd", ctypes.c_int32),
        ("events", ctypes.c_int16),
        ("revents", ctypes.c_int16),
    ]


def _ours() -> Iterator[tuple[int, str]]:
    """(descriptor, interface) of all taps of this process."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(entry) != DEVICE:
                continue
            text = Path(f"/proc/self/fdinfo/{entry.name}").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            name, _, interface = line.partition(":")
            if name == "iff":
                yield int(entry.name), interface.strip()


def descriptors(interface: str) -> list[int]:
    """Our descriptors of a tap, lowest first.

    In a DPDK secondary those of the receive queues come first, in order: the driver takes them
    over in one message.
    """
    return sorted(fd for fd, name in _ours() if name == interface)


def no_signals() -> int:
    """Switch off the signal that the driver asks for with every packet; how many had it.

    net_tap asks the kernel to signal the process that opened the tap, to spare itself empty reads.
    With us that process is the master, which reads no packets.  The workers' descriptors are
    of the same open file, so it holds for them too.
    """
    had = 0
    for fd, _ in _ours():
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if flags & os.O_ASYNC:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_ASYNC)
            had += 1
    return had


def poll_set(queues: Sequence[tuple[str, int]]) -> ctypes.Array:
    """What ppoll(2) waits for packets of these (interface, receive queue) with.

    A queue whose descriptor is not here is left out.
    """
    found = []
    for interface, queue in queues:
        fds = descriptors(interface)
        if queue < len(fds):
            found.append(PollStruct(fd=fds[queue], events=select.POLLIN))
    return (PollStruct * len(found))(*found)


def ppoll_address() -> int:
    """Address of the C library's ppoll, for calls from compiled code."""
    value = ctypes.cast(ctypes.CDLL(None).ppoll, ctypes.c_void_p).value
    assert value is not None
    return value
