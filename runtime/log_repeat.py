"""Suppression of repeated log lines: an event that recurs must not fill a disk."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
WINDOW_SECONDS = 5.0
_REMEMBERED = 1024


class Repeats(Generic[K]):
    """Remembers what was logged in the last seconds; not thread safe, the caller locks."""

    def __init__(self, window: float = WINDOW_SECONDS) -> None:
        self.suppressed = 0  # lines dropped since start
        self._window = window
        self._seen: OrderedDict[K, tuple[float, int]] = OrderedDict()  # shown at, dropped

    def admit(self, key: K, now: float) -> int | None:
        """Return None if key was shown within the window, else how many were dropped meanwhile."""
        shown, dropped = self._seen.get(key, (now - self._window, 0))
        if 0 <= now - shown < self._window:
            self._seen[key] = (shown, dropped + 1)
            self.suppressed += 1
            return None
        self._seen[key] = (now, 0)
        self._seen.move_to_end(key)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return dropped

    def expired(self, now: float) -> list[tuple[K, int]]:
        """Forget keys whose window is over; returns those with dropped lines and their number."""
        found: list[tuple[K, int]] = []
        while self._seen:
            key, (shown, dropped) = next(iter(self._seen.items()))
            if now - shown < self._window:
                break
            del self._seen[key]
            if dropped:
                found.append((key, dropped))
        return found
