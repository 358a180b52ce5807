"""Where a configuration statement stands, and the problems found in a file.

A configuration is read to its end before anything is decided: every problem is collected in a
`Report`, so that an operator corrects a file once instead of once per line.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Origin:
    """A line of a configuration file; line 0 means the file as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = Origin("", 0)


@dataclass(frozen=True, slots=True)
class Problem:
    """One complaint: its place, the enclosing blocks ("netif_defs/device dpdk0") and a sentence."""

    origin: Origin
    context: str
    text: str

    def __str__(self) -> str:
        parts = [str(self.origin), self.context, self.text]
        return ": ".join(part for part in parts if part)


class ConfigError(Exception):
    """A configuration that must not be used; `problems` holds every error found in it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass
class Report:
    """Collects errors (the file is refused) and warnings (it is used all the same)."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(self, origin: Origin, context: str, text: str) -> None:
        """Note something that makes the configuration unusable."""
        self.errors.append(Problem(origin, context, text))

    def warn(self, origin: Origin, context: str, text: str) -> None:
        """Note something the operator should know although the configuration is usable."""
        self.warnings.append(Problem(origin, context, text))

    def raise_errors(self) -> None:
        """Raise ConfigError with all errors, in the order of their lines, if there are any."""
        if self.errors:
            raise ConfigError(in_file_order(self.errors))


def in_file_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort problems by line within each file; files stay in the order they were first named."""
    listed = list(problems)
    rank = {name: i for i, name in enumerate(dict.fromkeys(p.origin.file for p in listed))}
    return sorted(listed, key=lambda p: (rank[p.origin.file], p.origin.line))
