"""Reference tables of a configuration schema, in Markdown."""

from collections.abc import Iterator
from typing import Any

from runtime.config_lex import quote
from runtime.config_schema import Block, Option, default_of, keywords, retired

_HEAD = ["| keyword | default | values | reload | meaning |", "|---|---|---|---|---|"]


def tables(cls: type) -> str:
    """Return one section per block of a root schema dataclass, in the order of the
    schema; headings are of level 3."""
    return "\n".join(_sections(cls, ""))


def _sections(cls: type, path: str) -> Iterator[str]:
    for keyword, (name, entry) in keywords(cls).items():
        title = f"{path}{keyword}"
        if isinstance(entry, Option):
            continue
        if isinstance(entry, Block) and entry.many:
            title += " NAME"
        yield from (f"### {title}", "", _sentence(entry.doc), "")
        if entry.inert:
            yield from (f"No effect: {entry.inert}.", "")
        if isinstance(entry, Block):
            yield from _table(entry.cls, name)
            yield from _sections(entry.cls, f"{title} / ")


def _table(cls: type, name: str) -> Iterator[str]:
    rows = [
        _row(cls, field, keyword, entry)
        for keyword, (field, entry) in keywords(cls).items()
        if isinstance(entry, Option)
    ]
    if rows:
        yield from (*_HEAD, *rows, "")
    if retired(cls):
        listed = ", ".join(f"`{word}` ({why})" for word, why in retired(cls).items())
        yield from (f"Skipped with a warning: {listed}.", "")


def _row(cls: type, field: str, keyword: str, entry: Option) -> str:
    doc = entry.doc
    if entry.inert:
        doc += f" (no effect: {entry.inert})"
    if entry.many:
        doc += " (may be repeated)"
    default = "required" if entry.required else _default(entry, default_of(cls, field))
    cells = [f"`{keyword}`", default, entry.kind.values(), "yes" if entry.reload else "no", doc]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(entry: Option, value: Any) -> str:
    if value is None or value in ((), ""):
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    text = entry.kind.format(value)
    return text if text != quote("") else "none"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
