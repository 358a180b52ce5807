"""Whatever stands in a file: settings, or a ConfigError that names file and line. Nothing else."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.config_report import ConfigError
from runtime.config_schema import Block, keywords
from tools.settings import Settings, loads, read_text


def _words(cls: type) -> set[str]:
    found = set(keywords(cls))
    for _, entry in keywords(cls).values():
        if isinstance(entry, Block):
            found |= _words(entry.cls)
    return found


KEYWORDS = sorted(_words(Settings))
VALUES = ["on", "off", "0", "1", "-5", "99999999999999999999", "tcp", "pci", "tap", "null", "x=y"]
MARKS = [
    "{",
    "}",
    "<init>",
    "<",
    '"',
    "#",
    "!",
    "\n",
    "\n",
    "\n",
    "\r",
    "\t",
    "\x00",
    "\ud800",
    " ",
]
PIECES = st.sampled_from(KEYWORDS + VALUES + MARKS) | st.text(max_size=3)
NEARLY = st.lists(PIECES, max_size=60).map(" ".join)


def survives(text: str) -> None:
    for reader in (read_text, loads):
        try:
            reader(text, "fuzz.conf")
        except ConfigError as error:
            assert error.problems
            for problem in error.problems:
                assert str(problem).startswith("fuzz.conf:")
                assert "\n" not in str(problem)
                assert 0 <= problem.origin.line <= text.count("\n") + text.count("\r") + 1
                if reader is read_text:  # only contradictions of a whole file have no line
                    assert problem.origin.line >= 1


@settings(deadline=None, max_examples=300)
@given(st.text().filter(lambda text: "include" not in text))
@example("\x0b\x0c\x1c\x85\u2028{")
@example('"' * 99)
def test_any_text(text: str) -> None:
    survives(text)


@settings(deadline=None, max_examples=300)
@given(NEARLY)
@example("netif_defs {\n device {\n rx {\n rss\n rss |\n }\n port\n port \n }\n}")
@example("worker_defs {\n worker a {\n cpu_id 99999\n type slave\n port b {\n }\n }\n}")
@example("commands {\n dpip \\\n dpip 'a\n}\ncommands {\n commands {\n}")
@example("{\n" * 5000)
@example("a {\n" * 5000)
def test_nearly_a_configuration(text: str) -> None:
    survives(text)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    if "include" not in text:
        survives(text)
