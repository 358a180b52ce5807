"""docs/configuration.md is what the schema says."""

from pathlib import Path

from runtime.config_schema import Block, keywords
from tools.settings import Settings, loads
from tools.settings_doc import page

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_page_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == page(), (
        "run python -m tools.settings_doc > docs/configuration.md"
    )


def _check(cls: type, text: str) -> None:
    for keyword, (_, entry) in keywords(cls).items():
        assert keyword in text
        assert entry.doc
        if isinstance(entry, Block):
            _check(entry.cls, text)


def test_every_keyword_is_documented() -> None:
    _check(Settings, page())


def test_example_works() -> None:
    lines = page().split("A small complete file:\n\n")[1].split("\n\n`dpvs doctor")[0]
    settings = loads(lines).settings
    assert len(settings.worker_defs.forwarding) == 2
    assert len(settings.commands) == 2
