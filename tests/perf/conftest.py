"""The tests judge what the benchmarks do, not the machine: disturbed rounds count."""

from __future__ import annotations

import pytest

from perf.options import KEEP


@pytest.fixture(autouse=True)
def any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``perf/run --keep-disturbed`` sets."""
    monkeypatch.setenv(KEEP, "1")
