"""Who owns a shared object: a process identified so that a reused pid is not mistaken for it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

# No underscore: it separates instance and purpose, so that "lb" never matches objects of "lb_two".
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,31}")
_PURPOSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Owner:
    """A process: its pid and its start time (clock ticks since boot, proc(5) stat field 22)."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Owner | None:
        """The process that has ``pid`` now; None when there is none (a zombie counts as none)."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (OSError, UnicodeDecodeError):
            return None
        # The command name may hold spaces and parentheses: fields are counted from the last one.
        fields = text[text.rindex(")") + 2 :].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @classmethod
    def me(cls) -> Owner:
        """The calling process; raises RuntimeError where /proc is not mounted."""
        found = cls.of(os.getpid())
        if found is None:
            raise RuntimeError("cannot read /proc/self/stat: is /proc mounted?")
        return found

    def alive(self) -> bool:
        """True while this very process (not a later one with its pid) runs."""
        return self.pid > 0 and Owner.of(self.pid) == self


def check_instance(name: str) -> str:
    """``name`` when it can name an instance, else ValueError.

    At most 32 letters, digits, ``-`` and ``.``; the first one is a letter or a digit.
    """
    if not _INSTANCE.fullmatch(name):
        raise ValueError(
            f"instance name {name!r}: use 1 to 32 letters, digits, '-' or '.', "
            "beginning with a letter or digit"
        )
    return name


def object_name(instance: str, purpose: str) -> str:
    """Name of a shared-memory object: ``dpvs_<instance>_<purpose>``; ValueError for a bad part."""
    if not _PURPOSE.fullmatch(purpose):
        raise ValueError(f"purpose {purpose!r}: use 1 to 64 letters, digits, '.', '_' or '-'")
    return f"dpvs_{check_instance(instance)}_{purpose}"
