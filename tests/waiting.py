"""Waiting for what comes at once on a machine that is not busy, and is late on one that is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 60.0  # seconds: nobody waits for so long but a test that fails


def eventually(true: Callable[[], Any], what: str = "", seconds: float = PATIENCE) -> Any:
    """Wait until ``true()`` is; its value.  Fails after so many seconds.

    Name fewer of them only where it would come in any case, but later.
    """
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what or true}"
        time.sleep(0.02)
    return value


async def until(true: Callable[[], Any]) -> None:
    """Wait until ``true()`` is, by the work of other tasks.  TimeoutError after PATIENCE."""
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.002)
