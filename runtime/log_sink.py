"""The thread that writes log lines, so that no caller ever waits for a disk or a terminal.

Lines wait in a bounded queue; when it is full, new ones are dropped and counted. A file is opened
to append and every line goes out in one write, so master and workers can share it. It is opened
again when asked (`reopen`), and by itself once it was renamed or removed (logrotate). While the
file cannot be written, lines go to stderr.
"""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Collection

RETRY_SECONDS = 5.0  # between attempts to open a file that could not be opened
CHECK_SECONDS = 1.0  # between looks whether the file was renamed
_STDERR = 2


class Sink:
    """Writer of log lines. `cpus`: where its thread may run, so that it spares a polling core."""

    def __init__(self, path: str | None, capacity: int, cpus: Collection[int] | None = None):
        self.dropped = 0  # lines lost because the queue was full
        self.failed = 0  # lines lost because nothing could be written
        self._capacity = capacity
        self._cpus = cpus
        self._lines: deque[str] = deque()
        self._wake = threading.Condition()
        self._busy = False
        self._closing = False
        self._path = path
        self._fd = -1
        self._identity: tuple[int, int] | None = None
        self._stale = False  # reopen was called
        self._next_check = 0.0
        self._next_open = 0.0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Queue a line; it is dropped and counted if the queue is full."""
        with self._wake:
            if len(self._lines) >= self._capacity:
                self.dropped += 1
                return
            self._lines.append(line)
            self._wake.notify_all()

    def reopen(self, path: str | None) -> None:
        """Write later lines to path (None: stderr), opened anew even if it is the same."""
        with self._wake:
            self._path = path
            self._stale = True

    def flush(self, timeout: float) -> bool:
        """Wait until everything queued is written; False if that took longer than timeout (s)."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._lines and not self._busy, timeout)

    def close(self, timeout: float = 1.0) -> None:
        """Write what is queued and end the thread; a write that hangs is left behind."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(timeout)

    def _run(self) -> None:
        if self._cpus:
            with contextlib.suppress(OSError, ValueError):  # no such cpu: any will do
                os.sched_setaffinity(0, self._cpus)  # 0 is the calling thread
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._lines or self._closing)
                if not self._lines:
                    break
                batch = list(self._lines)
                self._lines.clear()
                self._busy = True
                path, stale, self._stale = self._path, self._stale, False
            self._check(path, stale)
            for line in batch:
                self._write(line.encode("utf-8", "backslashreplace"))
        self._drop_fd()

    def _write(self, data: bytes) -> None:
        for fd in (self._fd, _STDERR):
            if fd < 0:
                continue
            try:
                if os.write(fd, data) == len(data):
                    return
            except OSError:
                continue
        self.failed += 1

    def _check(self, path: str | None, stale: bool) -> None:
        """Make _fd the file `path` names now; `stale`: without delay."""
        now = time.monotonic()
        if path is None:
            self._drop_fd()
        elif stale or (self._fd < 0 and now >= self._next_open):
            self._open(path, now)
        elif self._fd >= 0 and now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            if _identity(path) != self._identity:
                self._open(path, now)

    def _open(self, path: str, now: float) -> None:
        self._drop_fd()
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
            self._fd = os.open(path, flags, 0o640)
            info = os.fstat(self._fd)
            self._identity = (info.st_dev, info.st_ino)
        except (OSError, ValueError) as error:
            self._next_open = now + RETRY_SECONDS
            reason = error.strerror if isinstance(error, OSError) else error
            self._write(f"cannot open log file {path}: {reason}; logging to stderr\n".encode())

    def _drop_fd(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _identity(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return None
    return (info.st_dev, info.st_ino)
