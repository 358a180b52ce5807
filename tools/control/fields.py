"""Typed reading of request fields, with messages that say what was wrong and what would be right.

A handler reads every field it knows and then calls `done`, which refuses the fields nobody asked
for; only then does it touch the state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Address
from typing import Any, TypeVar

from .errors import Code, ControlError
from .inettypes import Address, family, parse_address, parse_mac

T = TypeVar("T")


class _Required:
    """Marks a field without default."""


REQUIRED: Any = _Required()


def shown(value: object) -> str:
    """A value as quoted in a message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Fields:
    """The fields of one request or of a nested map inside it; all errors are INVAL."""

    def __init__(self, data: Mapping[Any, Any], path: str = "") -> None:
        self._data = data
        self._path = path
        self._known: set[str] = set()

    def name_of(self, name: str) -> str:
        """The field's name as messages show it, such as svc.port."""
        return self._path + name

    def wrong(self, name: str, expected: str) -> ControlError:
        """The error for a field whose value is not what it must be."""
        value = shown(self._data.get(name))
        return ControlError(
            Code.INVAL, f"field '{self.name_of(name)}' must be {expected}, not {value}"
        )

    def has(self, name: str) -> bool:
        """Whether the request carries the field at all (null counts)."""
        self._known.add(name)
        return name in self._data

    def _get(self, name: str, default: Any) -> Any:
        if self.has(name):
            return self._data[name]
        if default is REQUIRED:
            raise ControlError(Code.INVAL, f"field '{self.name_of(name)}' is missing")
        return default

    def integer(self, name: str, low: int, high: int, default: Any = REQUIRED) -> int:
        """An integer low..high (a bool is not an integer)."""
        value = self._get(name, default)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(name, f"an integer {low}..{high}")
        return value

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        """Like `integer`, None when absent or null."""
        return None if self._get(name, None) is None else self.integer(name, low, high)

    def flag(self, name: str, default: Any = REQUIRED) -> bool:
        """True or false."""
        value = self._get(name, default)
        if type(value) is not bool:
            raise self.wrong(name, "true or false")
        return value

    def text(self, name: str, default: Any = REQUIRED, limit: int = 255) -> str:
        """Non-empty text without control characters, at most `limit` characters."""
        value = self._get(name, default)
        if type(value) is not str or not 0 < len(value) <= limit or not value.isprintable():
            raise self.wrong(name, f"text of 1..{limit} printable characters")
        return value

    def document(self, name: str, limit: int) -> str:
        """Text of any number of lines, possibly empty."""
        value = self._get(name, REQUIRED)
        if type(value) is not str or len(value) > limit:
            raise self.wrong(name, f"text of at most {limit} characters")
        return value

    def optional_text(self, name: str, limit: int = 255) -> str | None:
        """Like `text`, None when absent or null."""
        return None if self._get(name, None) is None else self.text(name, limit=limit)

    def texts(self, name: str, default: Any = REQUIRED) -> tuple[str, ...]:
        """A list of texts."""
        value = self._get(name, default)
        if not isinstance(value, list | tuple) or not all(type(item) is str for item in value):
            raise self.wrong(name, "a list of texts")
        return tuple(value)

    def choice(self, name: str, words: Collection[str], default: Any = REQUIRED) -> str:
        """One of the given words."""
        value = self._get(name, default)
        if type(value) is not str or value not in words:
            raise self.wrong(name, "one of " + ", ".join(words))
        return value

    def optional_choice(self, name: str, words: Collection[str]) -> str | None:
        """Like `choice`, None when absent or null."""
        return None if self._get(name, None) is None else self.choice(name, words)

    def parsed(self, name: str, parse: Callable[[str], T], expected: str) -> T:
        """Text understood by `parse`, which raises ValueError on anything else."""
        value = self._get(name, REQUIRED)
        try:
            if type(value) is str:
                return parse(value)
        except ValueError:
            pass
        raise self.wrong(name, expected)

    def address(self, name: str) -> Address:
        """An IPv4 or IPv6 address in text form."""
        return self.parsed(name, parse_address, "an IP address")

    def optional_address(self, name: str) -> Address | None:
        """Like `address`, None when absent or null."""
        return None if self._get(name, None) is None else self.address(name)

    def mac(self, name: str) -> str:
        """A unicast MAC address; the lower-case form is returned."""
        return self.parsed(name, parse_mac, "a unicast MAC address such as 02:00:00:00:00:01")

    def prefix_length(self, name: str, address: Address) -> int:
        """A prefix length that fits the address's family (0 is refused)."""
        return self.integer(name, 1, 32 if isinstance(address, IPv4Address) else 128)

    def nested(self, name: str) -> Fields:
        """A map inside the request; its own `done` must be called too."""
        value = self._get(name, REQUIRED)
        if not isinstance(value, Mapping):
            raise self.wrong(name, "a map")
        return Fields(value, f"{self.name_of(name)}.")

    def matches_family(self, name: str, address: Address) -> None:
        """Refuse a field `name` (af) that contradicts the address; absent or null is fine."""
        af = self.optional_choice(name, ("inet", "inet6"))
        if af is not None and af != family(address):
            raise ControlError(
                Code.INVAL, f"field '{self.name_of(name)}' is {af} but {address} is not"
            )

    def done(self) -> None:
        """Refuse fields that were never asked for."""
        extra = sorted(shown(name) for name in self._data if name not in self._known)
        if extra:
            where = f" in '{self._path[:-1]}'" if self._path else ""
            raise ControlError(Code.INVAL, f"unknown field {', '.join(extra[:5])}{where}")
