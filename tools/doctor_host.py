"""What the checks of `dpvs doctor` share: their results, and a host that is read, never changed.

All files are reached through a root folder, so that a test can show a check any host it likes.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OK = "ok"
WARN = "warn"
FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One result. `fix` is the one command that mends it, empty if no command can."""

    name: str
    status: str
    text: str
    fix: str = ""


class Host:
    """Read-only view of a host's files below `root`; paths are given without leading slash."""

    def __init__(self, root: str | Path = "/") -> None:
        self.root = Path(root)

    def path(self, name: str) -> Path:
        """Where a file of the host really is."""
        return self.root / name

    def read(self, name: str) -> str | None:
        """Text of a file without outer blanks, None if it cannot be read."""
        try:
            return self.path(name).read_text(errors="replace").strip()
        except OSError:
            return None

    def number(self, name: str) -> int | None:
        """The decimal number a file holds, None if there is none."""
        try:
            return int(self.read(name) or "")
        except ValueError:
            return None

    def exists(self, name: str) -> bool:
        """True if the file or folder is there."""
        return os.path.lexists(self.path(name))

    def writable(self, name: str) -> bool:
        """True if this process may write it."""
        return os.access(self.path(name), os.W_OK)

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder, none if it cannot be read."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except OSError:
            return []

    def target(self, link: str) -> str | None:
        """Last part of what a symbolic link points to, None if it is no link."""
        try:
            return os.path.basename(os.readlink(self.path(link)))
        except OSError:
            return None

    def find(self, pattern: str) -> list[str]:
        """Sorted host paths (with leading slash) that match a glob pattern."""
        return sorted("/" + str(path.relative_to(self.root)) for path in self.root.glob(pattern))

    def field(self, name: str, key: str) -> str | None:
        """Value of the line "key: value" (or "key   : value") of a file such as /proc/cpuinfo."""
        for line in (self.read(name) or "").splitlines():
            word, colon, value = line.partition(":")
            if colon and word.strip() == key:
                return value.strip()
        return None

    def capabilities(self) -> int | None:
        """Bits of the effective capabilities of this process, None if they cannot be read."""
        try:
            return int(self.field("proc/self/status", "CapEff") or "", 16)
        except ValueError:
            return None

    def cpus(self, name: str) -> set[int]:
        """The cpus a file lists in the form of the kernel: "0-3,8"."""
        return parse_cpus(self.read(name) or "")


def parse_cpus(text: str) -> set[int]:
    """Cpus of a list such as "0-3,8"; what is not understood is left out."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found.update(range(int(first), min(int(last or first), 1 << 16) + 1))
    return found


def format_cpus(cpus: Iterable[int]) -> str:
    """Write cpus as the kernel does: 0-3,8."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
