"""Names for people: symbols and source lines as ``package.module.function [file:line]``."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Place(NamedTuple):
    """A function in a source file: the lines it covers, that of its ``def``, qualified name."""

    first: int
    last: int
    line: int
    name: str


class _Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[Place] = []
        self._path: list[str] = []

    def _enter(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        self._path.append(node.name)
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(word.lineno for word in node.decorator_list)])
            last = node.end_lineno or node.lineno
            self.found.append(Place(first, last, node.lineno, ".".join(self._path)))
        self.generic_visit(node)
        self._path.pop()

    visit_FunctionDef = _enter
    visit_ClassDef = _enter


@cache
def functions_of(path: Path) -> list[Place]:
    """The functions in a source file; [] when it cannot be read."""
    finder = _Finder()
    try:
        finder.visit(ast.parse(path.read_text()))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return []
    return finder.found


def shown(path: Path) -> str:
    """A source path as it is shown: relative to the project when it is part of it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def label(path: Path, name: str, line: int) -> str:
    """``ipvs.poll.process [ipvs/poll.py:72]``."""
    module = shown(path).removesuffix(".py").replace("/", ".")
    return f"{module}.{name} [{shown(path)}:{line}]"


def at_line(path: Path, line: int) -> str | None:
    """Label of the innermost function around a source line."""
    around = [place for place in functions_of(path) if place.first <= line <= place.last]
    if not around:
        return None
    inner = max(around)
    return label(path, inner.name, inner.line)


def readable(symbol: str) -> str:
    """A symbol for people, with file and line when it is one of ours (``ipvs.poll.process``)."""
    parts = symbol.split(".")
    if not all(part.isidentifier() or part == "<locals>" for part in parts):
        return symbol
    for split in range(len(parts) - 1, 0, -1):
        path = ROOT.joinpath(*parts[:split]).with_suffix(".py")
        if path.is_file():
            name = ".".join(parts[split:]).replace("<locals>.", "")
            lines = [place.line for place in functions_of(path) if place.name == name]
            return label(path, name, lines[0]) if lines else symbol
    return symbol
