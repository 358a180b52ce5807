"""Compare two configurations and take over what may change while the daemon runs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from runtime.config_schema import Block, Option, keywords

T = TypeVar("T")


@dataclass(frozen=True)
class Change:
    """A keyword whose value differs; `path` is like "ipvs_defs/tcp/timeout/close".

    For a named block that exists on one side only, the other side's value is None.
    """

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.path}: {self.old!r} -> {self.new!r}"


def diff(old: T, new: T) -> tuple[list[Change], list[Change]]:
    """Return (changes that a reload applies, changes that need a restart)."""
    found = list(_changes(old, new, ""))
    return [c for c, reload in found if reload], [c for c, reload in found if not reload]


def reloaded(old: T, new: T) -> T:
    """Return old with every reloadable value of new: what is in force after a reload."""
    values: dict[str, Any] = {}
    for name, entry in keywords(type(old)).values():
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(entry, Option) and entry.reload:
            values[name] = after
        elif isinstance(entry, Block) and entry.many:
            by_name = {item.name: item for item in after}
            values[name] = tuple(reloaded(b, by_name.get(b.name, b)) for b in before)
        elif isinstance(entry, Block):
            values[name] = reloaded(before, after)
    return replace(old, **values)  # type: ignore[type-var]


def _changes(old: Any, new: Any, path: str) -> Iterator[tuple[Change, bool]]:
    for keyword, (name, entry) in keywords(type(old)).items():
        before, after = getattr(old, name), getattr(new, name)
        here = f"{path}/{keyword}" if path else keyword
        if isinstance(entry, Block) and entry.many:
            yield from _named_changes(before, after, here)
        elif isinstance(entry, Block):
            yield from _changes(before, after, here)
        elif before != after:
            yield Change(here, before, after), isinstance(entry, Option) and entry.reload


def _named_changes(before: Any, after: Any, path: str) -> Iterator[tuple[Change, bool]]:
    old = {item.name: item for item in before}
    new = {item.name: item for item in after}
    for name in dict.fromkeys((*old, *new)):
        here = f"{path} {name}"
        if name in old and name in new:
            yield from _changes(old[name], new[name], here)
        else:
            yield Change(here, old.get(name), new.get(name)), False
    if list(old) != list(new) and set(old) == set(new):
        yield Change(f"{path} order", tuple(old), tuple(new)), False
