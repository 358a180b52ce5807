"""The schema helper: reading, printing, comparing and documenting a small schema."""

# ruff: noqa: RUF009 - the calls declare fields, they make no shared value

from dataclasses import dataclass
from typing import ClassVar

import pytest

from runtime.config import parse_text
from runtime.config_build import build
from runtime.config_diff import diff, reloaded
from runtime.config_doc import tables
from runtime.config_kinds import (
    Choice,
    Flag,
    Int,
    IntList,
    Switch,
    Text,
    floor_pow2,
    floor_pow2_less_1,
    number,
)
from runtime.config_print import to_text
from runtime.config_report import Origin, Report
from runtime.config_schema import RawLine, block, blocks, opt, origin_field, raw


@dataclass(frozen=True)
class Inner:
    size: int = opt(8, Int(1, 100, "items", floor_pow2), "size of it")
    deep: bool = opt(True, Flag(), "goes deep", reload=True)


@dataclass(frozen=True)
class Thing:
    RETIRED: ClassVar[dict[str, str]] = {"old": "long gone"}
    name: str = ""
    origin: Origin = origin_field()
    ids: tuple[int, ...] = opt((), IntList(0, 9), "its ids")
    must: int = opt(0, Int(0, 9), "must stand", required=True)
    speed: str = opt("slow", Choice(("slow", "fast")), "how", reload=True)


@dataclass(frozen=True)
class Top:
    file: str | None = opt(None, Text("a file"), "where", reload=True)
    hosts: tuple[str, ...] = opt((), Text("a host"), "who", keyword="host", many=True)
    kni: bool = opt(False, Switch(), "kernel", inert="not yet", quiet=(False,))
    inner: Inner = block(Inner, "the inside")
    sleeping: Inner = block(Inner, "asleep", inert="not yet")
    things: tuple[Thing, ...] = blocks("thing", Thing, "a thing")


@dataclass(frozen=True)
class Root:
    top: Top = block(Top, "everything")
    lines: tuple[RawLine, ...] = raw("lines", "lines", lambda text: "bad" if text == "x" else "")


def read(text: str) -> tuple[Root, list[str], list[str]]:
    report = Report()
    tree = parse_text(text, "f", report, ("top", "lines"), ("lines",))
    root = build(Root, tree.children, report)
    return root, [str(p) for p in report.errors], [str(p) for p in report.warnings]


GOOD = """\
top {
    file "/a b"
    host h1
    host h2
    inner {
        size 16
        deep off
    }
    thing one {
        ids 1 2
        must 3
    }
    thing two {
        must 4
        speed fast
    }
}
lines {
    do this
}
"""


def test_read_and_print() -> None:
    root, errors, warnings = read(GOOD)
    assert (errors, warnings) == ([], [])
    assert root.top.inner == Inner(16, False)
    assert root.top.hosts == ("h1", "h2")
    assert [thing.name for thing in root.top.things] == ["one", "two"]
    assert root.top.things[1].origin == Origin("f", 13)
    assert to_text(root) == GOOD
    assert read(to_text(root, full=True))[0] == root


def test_blocks_of_the_same_name_add_up() -> None:
    root, errors, _ = read("top {\n file a\n}\ntop {\n host b\n}\n")
    assert errors == []
    assert (root.top.file, root.top.hosts) == ("a", ("b",))


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("fil a", "f:2: top: unknown keyword 'fil' (did you mean 'file'?)"),
        ("zzz", "f:2: top: unknown keyword 'zzz'"),
        ("file", "f:2: top: missing value of 'file'"),
        ("file {\n}", "f:2: top: 'file' takes a value, not a block"),
        ("kni yes", "f:2: top: kni: 'yes' is neither on nor off"),
        ("inner 3", "f:2: top: missing '{' after 'inner 3'"),
        ("inner a {\n}", "f:2: top: 'inner' takes no name"),
        ("inner {\n size 0\n}", "f:3: top/inner: size: 0 is out of range 1-100"),
        ("inner {\n size 1k\n}", "f:3: top/inner: size: '1k' is not a number"),
        ("inner {\n deep x\n}", "f:3: top/inner: deep: 'x' is neither on nor off"),
        ("thing {\n must 1\n}", "f:2: top: 'thing' needs a name"),
        ("thing a b {\n must 1\n}", "f:2: top: 'thing' takes one name, not 'thing a b'"),
        ("thing a {\n}", "f:2: top/thing a: missing 'must'"),
        (
            "thing a {\n must 1\n speed x\n}",
            "f:4: top/thing a: speed: 'x' is not one of slow, fast",
        ),
        (
            "thing a {\n must 1\n ids 1 1\n}",
            "f:4: top/thing a: ids: '1 1' names a number twice",
        ),
    ],
)
def test_errors(line: str, error: str) -> None:
    assert read(f"top {{\n{line}\n}}\n")[1] == [error]


def test_raw_lines_are_checked() -> None:
    assert read("lines {\n a\n x\n}")[1] == ["f:3: lines: bad"]


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("kni on", "f:2: top: 'kni' has no effect: not yet"),
        ("sleeping {\n}", "f:2: top: 'sleeping' has no effect: not yet"),
        ("file a b c", "f:2: top: 'file': ignored text 'b c'"),
        ("file a\nfile b", "f:3: top: 'file' replaces the value given at f:2"),
        ("thing a {\n must 1\n old x\n}", "f:4: top/thing a: 'old' is ignored: long gone"),
        ("thing a {\n must 1\n old {\n x\n }\n}", "f:4: top/thing a: 'old' is ignored: long gone"),
    ],
)
def test_warnings(line: str, warning: str) -> None:
    _, errors, warnings = read(f"top {{\n{line}\n}}\n")
    assert (errors, warnings) == ([], [warning])


def test_quiet_values_do_not_warn() -> None:
    assert read("top {\n kni OFF\n}")[1:] == ([], [])


def test_diff_and_reload() -> None:
    old = read(GOOD)[0]
    new = read(
        GOOD.replace("size 16", "size 32").replace("deep off", "deep").replace("fast", "slow")
    )[0]
    changed, restart = diff(old, new)
    assert [str(change) for change in changed] == [
        "top/inner/deep: False -> True",
        "top/thing two/speed: 'fast' -> 'slow'",
    ]
    assert [change.path for change in restart] == ["top/inner/size"]
    after = reloaded(old, new)
    assert (after.top.inner, after.top.things[1].speed) == (Inner(16, True), "slow")
    assert diff(after, new)[0] == []


def test_diff_of_named_blocks() -> None:
    old = read(GOOD)[0]
    without = read("top {\n thing two {\n must 4\n speed fast\n }\n}\n")[0]
    assert "top/thing one" in [change.path for change in diff(old, without)[1]]
    assert diff(without, old)[1][-2].old is None
    assert reloaded(old, without).top.things == old.top.things


def test_removed_keyword_returns_to_its_default() -> None:
    old, new = read(GOOD)[0], read("")[0]
    assert reloaded(old, new).top.file is None


def test_documentation() -> None:
    text = tables(Root)
    assert "### top / inner" in text
    assert "| `size` | 8 | 1-100 items, rounded down to 2^n | no | size of it |" in text
    assert "| `must` | required | 0-9 | no | must stand |" in text
    assert "`old` (long gone)" in text


@pytest.mark.parametrize("word", ["", "1_0", "٣", "0x1", "1.0", "9" * 5000, "--1"])
def test_not_a_number(word: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        number(word)


def test_rounding() -> None:
    assert [floor_pow2(n) for n in (1, 2, 3, 255, 256)] == [1, 2, 2, 128, 256]
    assert [floor_pow2_less_1(n) for n in (1023, 1024, 65535, 65536)] == [1023, 1023, 65535, 65535]
