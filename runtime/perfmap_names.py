"""Names for people: numba's mangled symbols and source lines as ``package.module.function``."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
WRAPPERS = {"cpython": "called from the interpreter", "cfunc": "called from C"}


def demangle(symbol: str) -> list[str] | None:
    """Parts of a numba symbol: ``_ZN4ipvs4poll7processB3v12...`` is ipvs, poll, process.

    None for what numba did not name.
    """
    if not symbol.startswith("_ZN"):
        return None
    parts, at = [], 3
    while at < len(symbol) and symbol[at].isdigit():
        end = at
        while end < len(symbol) and symbol[end].isdigit():
            end += 1
        size = int(symbol[at:end])
        if size == 0 or end + size > len(symbol):
            return None
        parts.append(symbol[end : end + size].replace("_3c", "<").replace("_3e", ">"))
        at = end + size
    return parts or None


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


def _source(parts: list[str]) -> tuple[Path, str] | None:
    """Source file and function name of a demangled symbol of this project."""
    for split in range(len(parts) - 1, 0, -1):
        path = ROOT.joinpath(*parts[:split]).with_suffix(".py")
        if path.is_file():
            return path, ".".join(parts[split:])
    return None


def readable(symbol: str) -> str:
    """A symbol for people, with file and line when it is one of ours."""
    parts = demangle(symbol)
    if parts is None:
        return symbol
    note = WRAPPERS.get(parts[0], "") if len(parts) > 1 else ""
    rest = parts[1:] if note else parts
    source = _source(rest)
    name = ".".join(rest)
    if source is not None:
        path, function = source
        bare = function.replace("<locals>.", "")
        lines = [place.line for place in functions_of(path) if place.name == bare]
        name = label(path, bare, lines[0]) if lines else name
    return f"{name} ({note})" if note else name
