"""Signals that end a program become exceptions, so that what it set up is taken down."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


def _leave(signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


@contextlib.contextmanager
def ending_tidily() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise SystemExit (128 + signal) where the program is.

    Somewhere else than in the main thread nothing changes.
    """
    kept = {}
    for signum in (signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError):  # not the main thread
            kept[signum] = signal.signal(signum, _leave)
    try:
        yield
    finally:
        for signum, handler in kept.items():
            signal.signal(signum, handler)
