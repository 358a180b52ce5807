"""Logging of master and workers: `time level [cid] module: message` to a file or stderr.

Modules use `logging.getLogger(__name__)` as anywhere; `setup` decides once per process where the
lines go. A log call never blocks and never raises: lines wait in a bounded queue for a thread
that writes them (`runtime.log_sink`). A line identical to one shown less than 5 s ago is dropped
and counted; the next one that is shown says how many were.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection

from runtime.log_format import (
    ALERT,
    EMERG,
    LEVELS,
    NOTICE,
    body,
    level_name,
    level_number,
    line,
)
from runtime.log_repeat import Repeats
from runtime.log_sink import Sink

__all__ = ["ALERT", "EMERG", "LEVELS", "NOTICE", "Log", "level_name", "level_number", "setup"]

DEFAULT_CAPACITY = 16383
_NOISY = ("numba", "asyncio")  # their debug output is about themselves


class Log(logging.Handler):
    """The log of this process; made by `setup`."""

    def __init__(
        self,
        cid: int,
        level: str = "INFO",
        file: str | None = None,
        *,
        capacity: int = DEFAULT_CAPACITY,
        cpus: Collection[int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.cid = cid
        self.setLevel(level_number(level))
        self._file = file
        self._clock = clock
        self._repeats: Repeats[tuple[int, str, str]] = Repeats()
        self._guard = threading.RLock()  # taken for microseconds, never while writing
        self._broken = 0
        self._sink = Sink(file, capacity, cpus)

    def configure(self, level: str, file: str | None) -> None:
        """Apply reloaded settings; the file is opened anew. Raises ValueError for a bad level."""
        self.setLevel(level_number(level))
        logging.getLogger().setLevel(self.level)
        self._file = file
        self.reopen()

    def reopen(self) -> None:
        """Open the log file anew, after it was rotated."""
        self._sink.reopen(self._file)

    def counters(self) -> dict[str, int]:
        """Lines that were not written: suppressed repeats, queue full, write failed, bad call."""
        return {
            "log_suppressed": self._repeats.suppressed,
            "log_dropped": self._sink.dropped,
            "log_failed": self._sink.failed + self._broken,
        }

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record; never raises."""
        try:
            self._take(record)
        except Exception:
            self._broken += 1
        return True

    def flush(self, timeout: float = 1.0) -> None:
        """Wait, at most timeout seconds, until everything logged so far is written."""
        self._sink.flush(timeout)

    def close(self) -> None:
        """Report what is still suppressed, write everything and stop the writer."""
        root = logging.getLogger()
        if self in root.handlers:
            root.removeHandler(self)
        with self._guard:
            self._summarise(float("inf"))
        self._sink.close()
        super().close()

    def _take(self, record: logging.LogRecord) -> None:
        text = body(record)
        key = (record.levelno, record.name, text)
        now = self._clock()
        with self._guard:
            dropped = self._repeats.admit(key, now)
            if dropped is None:
                return
            self._summarise(now)
        if dropped:
            text += _times(dropped)
        self._sink.put(line(record.created, record.levelno, self.cid, record.name, text))

    def _summarise(self, now: float) -> None:
        """Tell of dropped lines that were not followed by an equal one."""
        for key, dropped in self._repeats.expired(now):
            level, module, text = key
            self._sink.put(line(time.time(), level, self.cid, module, text + _times(dropped)))


def _times(dropped: int) -> str:
    return f" ({dropped} identical line{'s' if dropped > 1 else ''} not shown)"


def setup(
    cid: int,
    level: str = "INFO",
    file: str | None = None,
    *,
    capacity: int = DEFAULT_CAPACITY,
    cpus: Collection[int] | None = None,
) -> Log:
    """Send the log lines of this process through a new `Log` and return it.

    cid: 0 for the master, index + 1 for a worker. `cpus`: where the writing thread may run (the
    master's cpu for a worker; None: anywhere). `capacity`: lines that may wait. A log of an
    earlier call is closed. Raises ValueError for an unknown level. What is queued when the
    process ends is still written, for at most a second.
    """
    log = Log(cid, level, file, capacity=capacity, cpus=cpus)
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, Log):
            handler.close()
    root.addHandler(log)
    root.setLevel(log.level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return log
