"""Declarative schema of a configuration: dataclasses whose fields say how they are written.

A section of the file is a frozen dataclass; `opt`, `block`, `blocks` and `raw` declare its
keywords together with default, value type, reloadability and documentation. Reading, writing,
comparing and documenting a configuration all work from that one declaration.

    @dataclass(frozen=True)
    class NeighDefs:
        timeout: int = opt(60, Int(1, 3600, "s"), "time an entry stays reachable", reload=True)
"""

from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import Any

from runtime.config_kinds import Kind
from runtime.config_report import NOWHERE, Origin

_KEY = "config"


@dataclass(frozen=True)
class Keyword:
    """What is common to all keywords.

    `inert` says why the keyword has no effect (empty: it has one): it is read and checked, and
    using it is a warning.
    """

    keyword: str
    doc: str
    inert: str = ""


@dataclass(frozen=True)
class Option(Keyword):
    """A keyword with a value. `quiet` are the values that need no warning although inert."""

    kind: Kind = Kind()  # noqa: RUF009 - kinds are immutable
    reload: bool = False
    quiet: tuple[Any, ...] = ()
    required: bool = False
    many: bool = False  # every line adds one item to a tuple


@dataclass(frozen=True)
class Block(Keyword):
    """A keyword with statements in braces. `many`: named, and every one is a new object."""

    cls: type = object
    many: bool = False


@dataclass(frozen=True)
class RawBlock(Keyword):
    """A block of text lines; `check` returns what is wrong with a line, or an empty string."""

    check: Callable[[str], str] = lambda text: ""


@dataclass(frozen=True)
class RawLine:
    """One line of a raw block and where it stands."""

    text: str
    origin: Origin = field(default=NOWHERE, compare=False, repr=False)


def opt(
    default: Any,
    kind: Kind,
    doc: str,
    *,
    reload: bool = False,
    keyword: str = "",
    inert: str = "",
    quiet: tuple[Any, ...] = (),
    required: bool = False,
    many: bool = False,
) -> Any:
    """Declare a keyword with a value; its name is that of the field unless given."""
    entry = Option(keyword, doc, inert, kind, reload, quiet, required, many)
    return field(default=default, metadata={_KEY: entry})


def block(cls: type, doc: str, *, inert: str = "", keyword: str = "") -> Any:
    """Declare a block whose statements fill one object of dataclass cls."""
    return field(default_factory=cls, metadata={_KEY: Block(keyword, doc, inert, cls)})


def blocks(keyword: str, cls: type, doc: str, *, inert: str = "") -> Any:
    """Declare a block that may stand several times, each with a name; the field is a tuple.

    cls needs the fields `name` and `origin` besides its keywords.
    """
    return field(default=(), metadata={_KEY: Block(keyword, doc, inert, cls, True)})


def raw(keyword: str, doc: str, check: Callable[[str], str]) -> Any:
    """Declare a block of text lines; the field is a tuple of RawLine."""
    return field(default=(), metadata={_KEY: RawBlock(keyword, doc, "", check)})


def origin_field() -> Any:
    """Declare the field `origin` of a repeated block: its place, no part of its value."""
    return field(default=NOWHERE, compare=False, repr=False)


@cache
def _keywords(cls: Any) -> dict[str, tuple[str, Keyword]]:
    found: dict[str, tuple[str, Keyword]] = {}
    for item in fields(cls):
        entry = item.metadata.get(_KEY)
        if entry is not None:
            found[entry.keyword or item.name] = (item.name, entry)
    return found


def keywords(cls: type) -> dict[str, tuple[str, Keyword]]:
    """Map each keyword of a schema dataclass to its field name and declaration, in file order."""
    return _keywords(cls)


def retired(cls: type) -> dict[str, str]:
    """Keywords of former versions that are skipped with a warning, and why."""
    return getattr(cls, "RETIRED", {})


def default_of(cls: type, name: str) -> Any:
    """The compiled-in default of a field."""
    return _default({item.name: item for item in fields(cls)}[name])


def _default(item: Field[Any]) -> Any:
    if item.default_factory is not MISSING:
        return item.default_factory()
    return item.default


def raw_sections(cls: type) -> Collection[str]:
    """Keywords of the raw blocks of a root dataclass."""
    return [word for word, (_, entry) in keywords(cls).items() if isinstance(entry, RawBlock)]
