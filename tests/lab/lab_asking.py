"""A client of lab_client.py that is at work while the test goes on."""

from __future__ import annotations

import json
import subprocess
from typing import Any


class Asking:
    """A client that is at work."""

    def __init__(self, process: subprocess.Popen[str], connected: Any) -> None:
        self.process, self.connected = process, connected

    def line(self, text: str) -> dict[str, Any]:
        """Give it a line of input; the line it answers with."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        result: dict[str, Any] = json.loads(self.process.stdout.readline())
        return result

    def report(self) -> dict[str, Any]:
        """Ask it to end, once its time is over, and wait for that; what it reports."""
        assert self.process.stdout is not None and self.process.stderr is not None
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None
        lines = self.process.stdout.readlines()
        errors = self.process.stderr.read()
        assert self.process.wait() == 0, errors
        result: dict[str, Any] = json.loads(lines[-1])
        return result
