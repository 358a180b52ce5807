"""Printing settings and reading them back, for all settings the schema allows."""

import string
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.config_diff import diff, reloaded
from runtime.config_kinds import Choice, Int, IntList, Kind, Switch, Text, Words
from runtime.config_print import to_text
from runtime.config_schema import Block, Option, RawLine, keywords
from tools.settings import Settings, loads, read_text
from tools.settings_net import RSS_TYPES
from tools.settings_port import (
    PORT,
    MemifPort,
    NullPort,
    PcapPort,
    PciPort,
    RingPort,
    TapPort,
    VdevPort,
)

WORD = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
VALUE = st.text(
    st.characters(categories=["L", "N", "P", "S"], include_characters=" ", exclude_characters='"'),
    min_size=1,
    max_size=12,
)
MAC = st.just("02:00:00:00:00:0a")
PORTS = st.one_of(
    st.just(PciPort("0000:01:00.0")),
    st.builds(TapPort, st.none() | WORD, st.none() | MAC),
    st.builds(PcapPort, WORD, WORD, st.booleans()),
    st.builds(NullPort, st.integers(14, 9018), st.integers(0, 1)),
    st.just(RingPort()),
    st.builds(MemifPort, WORD, st.integers(0, 9), st.sampled_from(["server", "client"])),
    st.builds(VdevPort, WORD.map(lambda word: f"net_null0,x={word} {{")),
)
RSS = st.sets(st.sampled_from(RSS_TYPES)).map(lambda s: tuple(t for t in RSS_TYPES if t in s))
SPECIAL = {
    "log_level": st.sampled_from(["DEBUG", "ERR", "EMERG"]),
    "name": WORD,
    "pci_allow": st.just("0000:02:00.0"),
    "stable_secret": st.just("0123456789abcdef" * 2),
    "kni_name": WORD,
    "slave": WORD,
    "primary": WORD,
}
COMMAND = st.builds(
    lambda words: RawLine(f"dpip {' '.join(words)}"), st.lists(WORD, min_size=1, max_size=4)
)


def values(keyword: str, kind: Kind) -> st.SearchStrategy[Any]:
    if keyword in SPECIAL:
        return SPECIAL[keyword]
    if kind is PORT:
        return PORTS
    match kind:
        case Int():
            return st.integers(kind.lo, kind.hi).map(kind.fit or (lambda n: n))
        case Switch():
            return st.booleans()
        case Choice():
            return st.sampled_from(kind.words)
        case IntList():
            return st.lists(st.integers(kind.lo, kind.hi), unique=True, max_size=4).map(tuple)
        case Words():
            return st.lists(VALUE, max_size=3).map(tuple)
        case Text():
            return VALUE
    return RSS


def objects(cls: type) -> st.SearchStrategy[Any]:
    """Objects of a schema dataclass; every field is sometimes left at its default."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for keyword, (name, entry) in keywords(cls).items():
        if isinstance(entry, Option):
            one = values(keyword, entry.kind)
            fields[name] = st.lists(one, max_size=3).map(tuple) if entry.many else one
        elif isinstance(entry, Block):
            inner = objects(entry.cls)
            fields[name] = st.lists(inner, max_size=2).map(tuple) if entry.many else inner
        else:
            fields[name] = st.lists(COMMAND, max_size=3).map(tuple)
    if "name" in cls.__dataclass_fields__ and "name" not in fields:  # type: ignore[attr-defined]
        fields["name"] = VALUE
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: cls(**given))


@settings(deadline=None, max_examples=60)
@given(objects(Settings), st.booleans())
def test_round_trip(original: Settings, full: bool) -> None:
    assert read_text(to_text(original, full=full)) == original


@settings(deadline=None, max_examples=30)
@given(objects(Settings), objects(Settings))
def test_reload_takes_exactly_the_reloadable_changes(old: Settings, new: Settings) -> None:
    changed, restart = diff(old, new)
    assert bool(changed or restart) == (old != new)
    after = reloaded(old, new)
    unnamed = replace(after, netif_defs=old.netif_defs, worker_defs=old.worker_defs)
    assert diff(old, unnamed)[1] == []
    assert diff(after, new)[0] == []


def test_defaults_need_no_text() -> None:
    assert to_text(Settings()) == ""
    assert read_text("") == Settings()


def test_derived_settings_can_be_printed_and_read_again() -> None:
    loaded = loads("netif_defs {\n device d0 {\n port ring\n rx {\n queue_number 2\n }\n }\n}\n")
    assert loads(to_text(loaded.settings)).settings == loaded.settings


def test_diff_names_keywords() -> None:
    old = read_text("neigh_defs {\n timeout 60\n}\nnetif_defs {\n device d {\n port ring\n }\n}\n")
    new = read_text(
        "neigh_defs {\n timeout 7\n unres_queue_length 64\n}\n"
        "netif_defs {\n device d {\n port null\n mtu 9000\n }\n}\n"
        "commands {\n dpip route show\n}\n"
    )
    changed, restart = diff(old, new)
    assert [str(change) for change in changed] == ["neigh_defs/timeout: 60 -> 7"]
    assert [change.path for change in restart] == [
        "netif_defs/device d/port",
        "netif_defs/device d/mtu",
        "neigh_defs/unres_queue_length",
        "commands",
    ]
