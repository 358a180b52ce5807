"""Value types of configuration keywords: reading, writing and describing a value.

`parse` gets the words after the keyword and raises ValueError with a sentence; `format` is its
inverse; `values` describes what is allowed, for the documentation.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.config_lex import quote

_NUMBER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)


class Kind:
    """Base of all value types."""

    optional = False  # may stand without a value
    multiple = False  # takes all words of the line

    def parse(self, words: tuple[str, ...]) -> Any:
        """Return the value; raises ValueError."""
        raise ValueError("takes no value")

    def format(self, value: Any) -> str:
        """Return the text behind the keyword that `parse` reads as value."""
        return quote(str(value))

    def values(self) -> str:
        """Describe the allowed values."""
        return ""


def number(word: str) -> int:
    """Read a decimal integer; raises ValueError. (int() would also take "1_0" or other scripts.)"""
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"'{word}' is not a number")
    return int(word)


@dataclass(frozen=True)
class Int(Kind):
    """An integer from lo to hi, in `unit`; `fit` adjusts a legal value, as `fitting` says."""

    lo: int
    hi: int
    unit: str = ""
    fit: Callable[[int], int] | None = None

    def parse(self, words: tuple[str, ...]) -> int:
        value = number(words[0])
        lowest = min(self.lo, self.fit(self.lo)) if self.fit else self.lo  # what fit makes is legal
        if not lowest <= value <= self.hi:
            raise ValueError(f"{value} is out of range {self.lo}-{self.hi}")
        return self.fit(value) if self.fit else value

    def values(self) -> str:
        text = f"{self.lo}-{self.hi}"
        if self.unit:
            text += f" {self.unit}"
        return f"{text}, {self.fit.__doc__}" if self.fit else text


def floor_pow2(value: int) -> int:
    """rounded down to 2^n"""
    return 1 << (value.bit_length() - 1)


def floor_pow2_less_1(value: int) -> int:
    """rounded down to 2^n-1"""
    return floor_pow2(value + 1) - 1


class Switch(Kind):
    """on or off, in any case."""

    def parse(self, words: tuple[str, ...]) -> bool:
        word = words[0].lower()
        if word not in ("on", "off"):
            raise ValueError(f"'{words[0]}' is neither on nor off")
        return word == "on"

    def format(self, value: Any) -> str:
        return "on" if value else "off"

    def values(self) -> str:
        return "on, off"


class Flag(Switch):
    """A keyword that switches something on by standing there; `off` behind it switches it off."""

    optional = True

    def parse(self, words: tuple[str, ...]) -> bool:
        return super().parse(words) if words else True

    def format(self, value: Any) -> str:
        return "" if value else "off"

    def values(self) -> str:
        return "flag: no value (or on, off)"


@dataclass(frozen=True)
class Choice(Kind):
    """One word of a fixed set, in any case."""

    words: tuple[str, ...]

    def parse(self, words: tuple[str, ...]) -> str:
        for word in self.words:
            if words[0].lower() == word.lower():
                return word
        raise ValueError(f"'{words[0]}' is not one of {', '.join(self.words)}")

    def values(self) -> str:
        return ", ".join(self.words)


@dataclass(frozen=True)
class Text(Kind):
    """One word or quoted text that `pattern` accepts; `what` names it in messages."""

    what: str
    pattern: str = ".+"
    normal: Callable[[str], str] | None = None  # canonical spelling of an accepted text

    def parse(self, words: tuple[str, ...]) -> str:
        if not re.fullmatch(self.pattern, words[0], re.ASCII):
            raise ValueError(f"'{words[0]}' is not {self.what}")
        return self.normal(words[0]) if self.normal else words[0]

    def values(self) -> str:
        return self.what


@dataclass(frozen=True)
class IntList(Kind):
    """Different integers from lo to hi, separated by blanks."""

    lo: int
    hi: int
    multiple = True

    def parse(self, words: tuple[str, ...]) -> tuple[int, ...]:
        item = Int(self.lo, self.hi)
        found = tuple(item.parse((word,)) for word in words)
        if len(set(found)) != len(found):
            raise ValueError(f"'{' '.join(words)}' names a number twice")
        return found

    def format(self, value: Any) -> str:
        return " ".join(str(item) for item in value)

    def values(self) -> str:
        return f"numbers {self.lo}-{self.hi}, separated by blanks"


@dataclass(frozen=True)
class Words(Kind):
    """Any words, kept as they are."""

    what: str
    multiple = True

    def parse(self, words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(word) for word in words)

    def format(self, value: Any) -> str:
        return " ".join(quote(item) for item in value)

    def values(self) -> str:
        return self.what


@dataclass(frozen=True)
class Custom(Kind):
    """A value with a grammar of its own."""

    reader: Callable[[tuple[str, ...]], Any]
    writer: Callable[[Any], str]
    what: str
    multiple = True

    def parse(self, words: tuple[str, ...]) -> Any:
        return self.reader(words)

    def format(self, value: Any) -> str:
        return self.writer(value)

    def values(self) -> str:
        return self.what
