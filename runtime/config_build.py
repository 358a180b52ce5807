"""Fill schema dataclasses from a parsed tree, reporting everything that does not fit."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from runtime.config import Node
from runtime.config_report import Report
from runtime.config_schema import Block, Keyword, Option, RawBlock, RawLine, keywords, retired

T = TypeVar("T")


def build(
    cls: type[T],
    statements: Sequence[Node],
    report: Report,
    context: str = "",
    **given: Any,
) -> T:
    """Return an object of schema dataclass cls made from the statements of its block(s).

    Never raises for what stands in the file: a bad statement is reported and its default used, so
    that later ones are checked too. `given` are fields that are not keywords (name, origin).
    """
    known = keywords(cls)
    for node in statements:
        if node.keyword in retired(cls):
            reason = retired(cls)[node.keyword]
            report.warn(node.origin, context, f"'{node.keyword}' is ignored: {reason}")
        elif node.keyword not in known:
            close = get_close_matches(node.keyword, known, 1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            report.error(node.origin, context, f"unknown keyword '{node.keyword}'{hint}")
    values = dict(given)
    for keyword, (name, entry) in known.items():
        nodes = [node for node in statements if node.keyword == keyword]
        missing = isinstance(entry, Option) and entry.required and not nodes
        if missing and "origin" in given:
            report.error(given["origin"], context, f"missing '{keyword}'")
        if nodes and (found := _value(entry, nodes, report, context)) is not None:
            values[name] = found
    return cls(**values)


def _value(entry: Keyword, nodes: list[Node], report: Report, context: str) -> Any:
    if isinstance(entry, Option):
        return _option(entry, nodes, report, context)
    usable = [node for node in nodes if _is_block(node, report, context)]
    if entry.inert:
        for node in usable:
            report.warn(node.origin, context, f"'{node.head}' has no effect: {entry.inert}")
    if isinstance(entry, Block) and entry.many:
        return tuple(_named(entry, node, report, context) for node in usable)
    for node in usable:
        if node.args:
            report.error(node.origin, context, f"'{node.keyword}' takes no name")
    inner = [child for node in usable for child in node.children]
    if isinstance(entry, RawBlock):
        return tuple(_raw_line(entry, node, report, nodes[0].keyword) for node in inner)
    assert isinstance(entry, Block)
    return build(entry.cls, inner, report, _join(context, nodes[0].keyword))


def _is_block(node: Node, report: Report, context: str) -> bool:
    if not node.block:
        report.error(node.origin, context, f"missing '{{' after '{node.head}'")
    return node.block


def _named(entry: Block, node: Node, report: Report, context: str) -> Any:
    if len(node.args) != 1:
        wrong = "needs a name" if not node.args else f"takes one name, not '{node.head}'"
        report.error(node.origin, context, f"'{node.keyword}' {wrong}")
    name = node.args[0] if node.args else ""
    inner = _join(context, node.head)
    return build(entry.cls, node.children, report, inner, name=name, origin=node.origin)


def _raw_line(entry: RawBlock, node: Node, report: Report, context: str) -> RawLine:
    if wrong := entry.check(node.keyword):
        report.error(node.origin, context, wrong)
    return RawLine(node.keyword, node.origin)


def _option(entry: Option, nodes: list[Node], report: Report, context: str) -> Any:
    """Value of the last of the lines (all of them if repeatable), None if none is usable."""
    found = [value for node in nodes if (value := _parse(entry, node, report, context)) is not None]
    if entry.many:
        return tuple(found)
    if len(nodes) > 1:
        earlier = ", ".join(str(node.origin) for node in nodes[:-1])
        text = f"'{nodes[0].keyword}' replaces the value given at {earlier}"
        report.warn(nodes[-1].origin, context, text)
    return found[-1] if found else None


def _parse(entry: Option, node: Node, report: Report, context: str) -> Any:
    kind, words = entry.kind, node.args
    if node.block:
        report.error(node.origin, context, f"'{node.keyword}' takes a value, not a block")
        return None
    if not words and not kind.optional:
        report.error(node.origin, context, f"missing value of '{node.keyword}'")
        return None
    if not kind.multiple and len(words) > 1:
        extra = " ".join(words[1:])
        report.warn(node.origin, context, f"'{node.keyword}': ignored text '{extra}'")
        words = words[:1]
    try:
        value = kind.parse(words)
    except ValueError as error:
        report.error(node.origin, context, f"{node.keyword}: {error}")
        return None
    if entry.inert and value not in entry.quiet:
        report.warn(node.origin, context, f"'{node.keyword}' has no effect: {entry.inert}")
    return value


def _join(context: str, part: str) -> str:
    return f"{context}/{part}" if context else part
