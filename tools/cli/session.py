"""What a command works with, and how it reports what went wrong."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from tools.cli.names import Names
from tools.client import Transport

REPLY_FAULTS = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading a reply of an unexpected shape can raise; commands report it as one line."""


class UsageError(Exception):
    """The command line is wrong; `status` is the exit status the tool answers with."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Session:
    """One run of a tool: where requests go, where text goes, and the replaceable surroundings."""

    transport: Transport
    out: TextIO
    err: TextIO
    names: Names = field(default_factory=Names)
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    sleep: Callable[[float], None] = time.sleep

    def complain(self, text: str) -> None:
        """Write one line to the error stream, whatever the text contains."""
        self.err.write(one_line(text) + "\n")


def one_line(text: str) -> str:
    """The text with everything unprintable escaped, so that it stays on one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
