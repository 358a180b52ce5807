"""Parser of the dpvs.conf syntax: text in, tree of statements out.

It knows blocks, keywords, comments, decorations, quotes and `include`; it does not know which
keywords exist (see `runtime.config_schema` for that). Compared with the C parser it never guesses:
a brace that is missing or surplus, an unclosed quote and an include cycle are errors with file and
line. `{` may also stand alone on the line after its keyword.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from runtime import config_lex as lex
from runtime.config_include import IncludeError, matches, read_text
from runtime.config_report import NOWHERE, Origin, Report

_LINE_END = re.compile(r"\r\n|\r|\n")
MAX_DEPTH = 16  # of blocks; what is deeper is no configuration
MAX_FILES = 1000  # two files that include each other's halves must not grow without end


@dataclass
class Node:
    """One statement: keyword, values and, if it opened a block, the statements inside.

    In a raw block a child is one line of text: it stands in `keyword`, without comment.
    """

    keyword: str
    args: tuple[str, ...] = ()
    origin: Origin = NOWHERE
    block: bool = False
    children: list["Node"] = field(default_factory=list)

    @property
    def head(self) -> str:
        """The statement as written, without braces: "device dpdk0"."""
        return " ".join((self.keyword, *self.args))


class Parser:
    """Builds one tree from any number of texts; problems go to `report`.

    `sections` are the keywords that open a block at the top of a file: seeing one inside another
    block tells where a closing brace was forgotten. `raw` names those sections whose lines are
    kept as text.
    """

    def __init__(self, report: Report, sections: Iterable[str] = (), raw: Iterable[str] = ()):
        self.root = Node("", block=True)
        self._report = report
        self._sections = frozenset(sections)
        self._raw = frozenset(raw)
        self._open = [self.root]  # the blocks around the current line, outermost first
        self._active: list[str] = []  # real paths of the files being read
        self._files = 0

    def context(self) -> str:
        """Path of the open blocks, for messages."""
        return "/".join(node.head for node in self._open[1:])

    def feed(self, text: str, file: str) -> None:
        """Parse text; `file` is its name in messages and the anchor of relative includes."""
        outer = len(self._open)  # a file must close what it opens, and only that
        try:
            for number, line in enumerate(_LINE_END.split(text), 1):
                self._line(line, Origin(file, number), outer)
        except _TooDeepError:  # the rest of this file would only repeat the error
            del self._open[outer:]
        while len(self._open) > outer:
            node = self._open[-1]
            self._error(node.origin, f"missing '}}' of block '{node.head}'")
            self._open.pop()

    def include(self, pattern: str, near: Origin, *, top: bool = False) -> None:
        """Parse every file that matches pattern (relative to the file of `near`).

        With `top` the pattern is the operator's own file name: it may be a pipe, and is relative
        to the working directory.
        """
        try:
            for path in matches(pattern, "" if top else near.file):
                self._files += 1
                if self._files > MAX_FILES:
                    raise IncludeError(f"more than {MAX_FILES} files included")
                text, real = read_text(path, self._active, regular=not top)
                self._active.append(real)
                self.feed(text, path)
                self._active.pop()
        except IncludeError as error:
            self._error(near, str(error))

    def _error(self, origin: Origin, text: str) -> None:
        self._report.error(origin, self.context(), text)

    def _in_raw(self) -> bool:
        return len(self._open) == 2 and self._open[1].keyword in self._raw

    def _line(self, line: str, origin: Origin, outer: int) -> None:
        try:
            if self._in_raw() and self._raw_line(lex.strip_comment(line), origin):
                return
            tokens = lex.split(line)
        except lex.LexError as error:
            self._error(origin, str(error))
            return
        if tokens:
            self._statement(tokens, origin, outer)

    def _raw_line(self, text: str, origin: Origin) -> bool:
        """Keep one raw line; False hands structure (a brace, an include) to the usual grammar."""
        words = text.split()
        if not words:
            return True
        if text == "}" or words[0] == "include" or self._opens_section(words):
            return False
        lex.check_text(text)
        self._open[-1].children.append(Node(text, origin=origin))
        return True

    def _opens_section(self, tokens: list[str]) -> bool:
        return tokens[0] in self._sections and tokens[-1] == "{"

    def _statement(self, tokens: list[str], origin: Origin, outer: int) -> None:
        first, last = tokens[0], tokens[-1]
        if _is(first, "}"):
            if len(tokens) > 1:
                self._error(origin, f"unexpected '{tokens[1]}' after '}}'")
            self._close(origin, outer)
        elif _is(first, "{"):
            self._late_brace(tokens, origin)
        elif first == "include" and not isinstance(first, lex.Quoted):
            if len(tokens) == 2:
                self.include(tokens[1], origin)
            else:
                self._error(origin, "include takes one file name or pattern")
        elif any(_is(token, "{") for token in tokens[:-1]):
            self._error(origin, "only a comment may follow '{' on its line")
            if not _is(last, "}"):  # otherwise the block was closed on the same line
                self._add(tokens[: tokens.index("{")], origin, True)
        elif _is(last, "}"):
            self._add(tokens[:-1], origin, False)
            self._error(origin, "'}' must stand on a line of its own")
            self._close(origin, outer)
        elif last.endswith("{") and last != "{" and not isinstance(last, lex.Quoted):
            self._error(origin, f"missing blank before '{{' in '{last}'")
            self._add([*tokens[:-1], last[:-1]], origin, True)
        elif _is(last, "{"):
            if len(self._open) > 1 and self._opens_section(tokens):
                self._recover(tokens, origin, outer)
            self._add(tokens[:-1], origin, True)
        else:
            self._add(tokens, origin, False)

    def _add(self, tokens: list[str], origin: Origin, block: bool) -> None:
        node = Node(tokens[0], tuple(tokens[1:]), origin, block)
        self._open[-1].children.append(node)
        if block:
            self._enter(node)

    def _enter(self, node: Node) -> None:
        if len(self._open) > MAX_DEPTH:
            self._error(node.origin, f"blocks are nested more than {MAX_DEPTH} deep")
            raise _TooDeepError
        self._open.append(node)

    def _late_brace(self, tokens: list[str], origin: Origin) -> None:
        siblings = self._open[-1].children
        if len(tokens) > 1:
            self._error(origin, "only a comment may follow '{' on its line")
        elif siblings and not siblings[-1].block:
            siblings[-1].block = True
            self._enter(siblings[-1])
        else:
            self._error(origin, "unexpected '{'")

    def _close(self, origin: Origin, outer: int) -> None:
        if len(self._open) > outer:
            self._open.pop()
        else:
            self._error(origin, "unexpected '}'")

    def _recover(self, tokens: list[str], origin: Origin, outer: int) -> None:
        """A section inside a block: somebody forgot to close what is open. Report and close it."""
        still = ", ".join(f"'{node.head}' of line {node.origin.line}" for node in self._open[1:])
        self._error(origin, f"'{tokens[0]}' starts here, but '}}' is missing of {still}")
        del self._open[max(outer, 1) :]


class _TooDeepError(Exception):
    """Reading of this file was given up, after the error was reported."""


def _is(token: str, brace: str) -> bool:
    return token == brace and not isinstance(token, lex.Quoted)


def parse_text(
    text: str, file: str, report: Report, sections: Iterable[str] = (), raw: Iterable[str] = ()
) -> Node:
    """Parse a text; returns the root node, whose children are the top-level statements."""
    parser = Parser(report, sections, raw)
    parser.feed(text, file)
    return parser.root


def parse_file(
    path: str, report: Report, sections: Iterable[str] = (), raw: Iterable[str] = ()
) -> Node:
    """Parse the file (or the files, if `path` is a glob pattern) named on the command line."""
    parser = Parser(report, sections, raw)
    parser.include(path, Origin(path, 0), top=True)
    return parser.root
