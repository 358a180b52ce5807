"""`include`: patterns, relative paths, cycles, unreadable files."""

import os
from pathlib import Path

import pytest

from runtime.config import Node, parse_file
from runtime.config_report import Report


def read(path: Path | str) -> tuple[Node, list[str]]:
    report = Report()
    root = parse_file(str(path), report, ("alpha", "raw"), ("raw",))
    return root, [str(problem) for problem in report.errors]


def heads(node: Node) -> list[str]:
    return [child.head for child in node.children]


def test_pattern_is_sorted_and_relative_to_the_including_file(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "b.conf").write_text("b 2\n")
    (folder / "a.conf").write_text("a 1\ninclude ../deep.inc\n")
    (folder / "c.txt").write_text("c 3\n")
    (tmp_path / "deep.inc").write_text("deep 4\n")
    main = tmp_path / "main.conf"
    main.write_text("alpha {\n  first 0\n  include conf.d/*.conf\n  last 9\n}\n")
    root, found = read(main)
    assert found == []
    assert heads(root.children[0]) == ["first 0", "a 1", "deep 4", "b 2", "last 9"]
    assert root.children[0].children[2].origin.file.endswith("conf.d/../deep.inc")


def test_include_in_a_raw_block(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("two # x\n")
    main = tmp_path / "main.conf"
    main.write_text("raw {\n  one\n  include more\n}\n")
    root, found = read(main)
    assert found == []
    assert heads(root.children[0]) == ["one", "two"]


def test_cycle(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("include b\nx 1\n")
    b.write_text("\ninclude ./a\n")
    root, found = read(a)
    assert found == [f"{tmp_path}/b:2: '{tmp_path}/./a' includes itself (a -> b -> a)"]
    assert heads(root) == ["x 1"]


def test_growth_is_bounded(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"f{i}").write_text(f"include f{i + 1}\n" * 4)
    (tmp_path / "f12").write_text("x 1\n")
    _, found = read(tmp_path / "f0")
    assert any("more than 1000 files" in line for line in found)
    assert len(found) < 100


@pytest.mark.parametrize("name", ["missing.conf", "none/*.conf"])
def test_nothing_matches(tmp_path: Path, name: str) -> None:
    main = tmp_path / "main.conf"
    main.write_text(f"x 1\ninclude {name}\n")
    assert read(main)[1] == [f"{main}:2: cannot read '{tmp_path}/{name}': no such file"]


def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    main = tmp_path / "main.conf"
    main.write_text("include pipe\ninclude .\n")
    found = read(main)[1]
    assert found[0].endswith("pipe': not a regular file")
    assert "Is a directory" in found[1]


def test_block_must_end_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("y {\n")
    (tmp_path / "close").write_text("}\n")
    main = tmp_path / "main.conf"
    main.write_text("alpha {\ninclude open\ninclude close\n}\n")
    found = read(main)[1]
    assert found == [
        f"{tmp_path}/open:1: alpha/y: missing '}}' of block 'y'",
        f"{tmp_path}/close:1: alpha: unexpected '}}'",
    ]


def test_missing_main_file(tmp_path: Path) -> None:
    path = tmp_path / "dpvs.conf"
    assert read(path)[1] == [f"{path}: cannot read '{path}': no such file"]


def test_main_file_may_be_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "1.conf").write_text("a 1\n")
    (tmp_path / "2.conf").write_text("b 2\n")
    root, found = read(tmp_path / "*.conf")
    assert found == []
    assert heads(root) == ["a 1", "b 2"]


def test_other_encodings_are_kept_out_of_values(tmp_path: Path) -> None:
    main = tmp_path / "main.conf"
    main.write_bytes(b"# gr\xfc\xdfe\nx \xfc\n")
    assert len(read(main)[1]) == 1
