"""Tests that docs/rfcs.md and docs/forwarding.md name exist; tests named after RFCs are named."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RFCS = ROOT / "docs" / "rfcs.md"
# The RFCs whose every test belongs into the table.
TABLE = "791|792|1122|1624|1812|2003|2473|3022|4443|4787|4861|5382|5508|6146|7915|8200|9293"


def files():
    """Test files by the path that the documentation gives them, below tests/."""
    return {str(path.relative_to(ROOT / "tests")): path for path in ROOT.glob("tests/*/test_*.py")}


def functions(path):
    return set(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))


def words(path):
    """What stands in backticks and begins as a test or a test's file does, row by row."""
    for line in path.read_text().splitlines():
        yield re.findall(r"`((?:\w+/)?test_[\w*]+(?:\.py)?)`", line)


@pytest.mark.parametrize("name", ["rfcs.md", "forwarding.md"])
def test_every_test_that_is_named_exists(name):
    """A function belongs to the file named before it; a file without folder to any folder."""
    known = files()
    bare = {Path(path).name for path in known}
    count = 0
    for row in words(ROOT / "docs" / name):
        file = None
        for word in row:
            count += 1
            if word.endswith(".py"):
                assert word in known or word in bare, word
                file = word
            else:
                assert file is not None, word
                found = fnmatch.filter(functions(known[file]), word)
                assert found, f"{file} has no {word}"
    assert count > 30


def test_every_test_named_after_an_rfc_of_the_table_is_in_it():
    named = set()
    for row in words(RFCS):
        file = None
        for word in row:
            if word.endswith(".py"):
                file = word
            else:
                named |= {(file, found) for found in fnmatch.filter(functions(files()[file]), word)}
    for path, where in files().items():
        for function in functions(where):
            if re.match(rf"test_rfc({TABLE})_", function):
                assert (path, function) in named, f"{path}: {function}"
