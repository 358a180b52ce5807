"""Write schema dataclasses as configuration text; reading that text gives equal objects."""

from collections.abc import Iterator
from typing import Any

from runtime.config_lex import quote
from runtime.config_schema import Block, Option, RawBlock, default_of, keywords

_INDENT = "    "


def to_text(settings: Any, *, full: bool = False) -> str:
    """Return the configuration text of a root dataclass.

    Without `full`, keywords that have their default value are left out. Raises ValueError for a
    value the syntax cannot express (only possible for objects that were not read from a file).
    """
    return "".join(f"{line}\n" for line in _body(settings, full, 0))


def _body(obj: Any, full: bool, depth: int) -> Iterator[str]:
    pad = _INDENT * depth
    for keyword, (name, entry) in keywords(type(obj)).items():
        value = getattr(obj, name)
        if isinstance(entry, Option):
            for text in _option(obj, name, entry, full):
                yield f"{pad}{keyword} {text}".rstrip()
        elif isinstance(entry, RawBlock):
            yield from _braces(pad + keyword, pad, [f"{pad}{_INDENT}{x.text}" for x in value])
        elif isinstance(entry, Block):
            for item in value if entry.many else (value,):
                head = f"{pad}{keyword} {quote(item.name)}" if entry.many else pad + keyword
                lines = list(_body(item, full, depth + 1))
                yield from _braces(head, pad, lines, always=entry.many)


def _braces(head: str, pad: str, lines: list[str], *, always: bool = False) -> Iterator[str]:
    if lines or always:
        yield f"{head} {{"
        yield from lines
        yield f"{pad}}}"


def _option(obj: Any, name: str, entry: Option, full: bool) -> list[str]:
    value = getattr(obj, name)
    same = value == default_of(type(obj), name)
    if value is None or (same and not full and not entry.required):
        return []
    texts = [entry.kind.format(item) for item in (value if entry.many else (value,))]
    return [text for text in texts if text or entry.kind.optional]
