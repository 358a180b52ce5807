"""Syntax of the configuration file: tokens, blocks, comments, raw blocks, precise errors."""

import pytest

from runtime import config_lex as lex
from runtime.config import Node, parse_text
from runtime.config_report import ConfigError, Report

SECTIONS = ("alpha", "beta", "raw")


def parse(text: str) -> tuple[Node, list[str]]:
    report = Report()
    root = parse_text(text, "c.conf", report, SECTIONS, ("raw",))
    return root, [str(problem) for problem in report.errors]


def errors(text: str) -> list[str]:
    return parse(text)[1]


def shape(node: Node) -> list:
    return [(n.head, shape(n)) if n.block else n.head for n in node.children]


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("", []),
        ("  ! all of it", []),
        ("# all of it", []),
        ("mtu 1500", ["mtu", "1500"]),
        ("mtu\t1500 # why", ["mtu", "1500"]),
        ("mtu 1500 !why", ["mtu", "1500"]),
        ("name a#b!c", ["name", "a#b!c"]),
        ("<init> mtu 1500 <1500, 1-9000>", ["mtu", "1500"]),
        ("<init>mtu 1500", ["mtu", "1500"]),
        ("file a<b>c", ["file", "a<b>c"]),
        ('file "a b"', ["file", "a b"]),
        ('file "# not a comment" # one', ["file", "# not a comment"]),
        ('file ""', ["file", ""]),
        ('file a"b c"d', ["file", "a", "b c", "d"]),
        ("mtu 1500 \u221e", ["mtu", "1500", "\u221e"]),
    ],
)
def test_tokens(line: str, tokens: list[str]) -> None:
    assert lex.split(line) == tokens


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a <init b", "missing '>'"),
        ('a "b', "missing closing quote"),
        ("a b\x00c", "not printable"),
        ("a \udcff", "not printable"),
        ('a "b\x1b[0m"', "not printable"),
    ],
)
def test_bad_tokens(line: str, message: str) -> None:
    with pytest.raises(lex.LexError, match=message):
        lex.split(line)


def test_unprintable_text_is_harmless_in_a_comment() -> None:
    assert errors("a 1 # caf\udce9 \x07\n! \udcff") == []


def test_tree_with_lines() -> None:
    root, found = parse("alpha {\n  dev d0 {\n    mtu 9\r\n  }\r  x\n}\nbeta {\n}\n")
    assert found == []
    assert shape(root) == [("alpha", [("dev d0", ["mtu 9"]), "x"]), ("beta", [])]
    device = root.children[0].children[0]
    assert (device.origin.line, device.children[0].origin.line) == (2, 3)
    assert str(root.children[0].children[1].origin) == "c.conf:5"


def test_brace_on_the_next_line() -> None:
    root, found = parse("alpha\n{\n x 1\n}\nraw\n{\n ls # it\n}")
    assert found == []
    assert shape(root) == [("alpha", ["x 1"]), ("raw", ["ls"])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("}", "c.conf:1: unexpected '}'"),
        ("{", "c.conf:1: unexpected '{'"),
        ("alpha {\n} x", "c.conf:2: alpha: unexpected 'x' after '}'"),
        ("alpha {\n x 1\n", "c.conf:1: alpha: missing '}' of block 'alpha'"),
        ("alpha {\n d e {\n", "c.conf:2: alpha/d e: missing '}' of block 'd e'"),
        ("alpha{\n}", "c.conf:1: missing blank before '{' in 'alpha{'"),
        ("alpha { x 1 }", "c.conf:1: only a comment may follow '{' on its line"),
        ("alpha { x\n}", "c.conf:1: only a comment may follow '{' on its line"),
        ("alpha {\n x }", "c.conf:2: alpha: '}' must stand on a line of its own"),
        ("alpha {\n }\n}\n", "c.conf:3: unexpected '}'"),
        ("alpha\n{ x\n", "c.conf:2: only a comment may follow '{' on its line"),
        ("include", "c.conf:1: include takes one file name or pattern"),
        ("include a b", "c.conf:1: include takes one file name or pattern"),
    ],
)
def test_structure_errors(text: str, expected: str) -> None:
    assert errors(text)[0] == expected


def test_section_inside_a_block_tells_where_the_brace_is_missing() -> None:
    root, found = parse("alpha {\n d e {\n x\n }\n\nbeta {\n y\n}\n")
    assert found == ["c.conf:6: alpha: 'beta' starts here, but '}' is missing of 'alpha' of line 1"]
    assert shape(root) == [("alpha", [("d e", ["x"])]), ("beta", ["y"])]


def test_nesting_is_bounded() -> None:
    found = errors("alpha {\n" + "a {\n" * 5000 + "}\n" * 9)
    assert len(found) == 1
    assert found[0].endswith("blocks are nested more than 16 deep")


def test_every_error_is_reported() -> None:
    assert len(errors('a <x\nb "y\n}\nc\x01\n')) == 4


def test_raw_block_keeps_lines() -> None:
    root, found = parse(
        "raw {\n  # note\n  say \"a # b\" 'c ! d'  # note\n  <x> {y} include  z\n\n}\nalpha {\n}"
    )
    assert found == []
    assert shape(root)[0] == ("raw", ["say \"a # b\" 'c ! d'", "<x> {y} include  z"])
    assert [n.origin.line for n in root.children[0].children] == [3, 4]


def test_raw_block_without_end() -> None:
    root, found = parse("raw {\n ls\nalpha {\n}\n")
    assert found == ["c.conf:3: raw: 'alpha' starts here, but '}' is missing of 'raw' of line 1"]
    assert shape(root) == [("raw", ["ls"]), ("alpha", [])]


def test_errors_are_raised_together_in_line_order() -> None:
    report = Report()
    parse_text("alpha {\n}}\n x <\n", "c.conf", report, SECTIONS)
    with pytest.raises(ConfigError) as caught:
        report.raise_errors()
    lines = [problem.origin.line for problem in caught.value.problems]
    assert lines == sorted(lines)
    assert str(caught.value).count("\n") == len(lines) - 1
