"""When a dead worker starts again: at once the first time, ever later while it keeps dying."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Backoff:
    """Delays in seconds: 0, ``first``, 2 x, 4 x ... up to ``largest``.

    A process that lived for ``stable`` seconds makes the next delay 0 again.
    """

    first: float = 0.5
    largest: float = 30.0
    stable: float = 10.0
    failures: int = 0
    """Deaths in a row that came before ``stable``."""

    def after(self, lived: float) -> float:
        """Delay before the next start of a worker that died after ``lived`` seconds."""
        if lived >= self.stable:
            self.failures = 0
        delay = 0.0
        if self.failures:
            # Capped exponent: after days of failures 2**n would overflow a float.
            delay = min(self.first * 2 ** min(self.failures - 1, 32), self.largest)
        self.failures += 1
        return delay
