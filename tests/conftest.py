"""What all tests share: markers, hypothesis profiles, a short directory, a lab."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import pool_copies  # noqa: E402 - the path above decides whose modules these are
from tools import lab_needs  # noqa: E402
from tools.lab import Lab  # noqa: E402

# Tests talk to instances they start, never to one that the caller's shell points at.
for variable in ("DPVS_NAME", "DPVS_SOCKET", "DPVS_IPC_FILE"):
    os.environ.pop(variable, None)

# Plain Python is up to a thousand times slower than the compiled packet path. A first example
# may have to compile, so none has a deadline of its own (pytest-timeout limits the test), nor may
# the drawing of examples fail a test for being slow: that would judge the machine.
PLAIN = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
EXAMPLES = 25 if PLAIN else 100
CI_EXAMPLES = 8 if PLAIN else 30  # tests/run has its time
patient = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("dev", patient, max_examples=EXAMPLES)
hypothesis.settings.register_profile(
    "ci", patient, max_examples=CI_EXAMPLES, derandomize=True, print_blob=True
)
hypothesis.settings.register_profile("long", patient, max_examples=EXAMPLES * 50)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

if PLAIN:
    pool_copies.install()

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason; never when DPVS_STRICT is set."""
    if os.environ.get("DPVS_STRICT"):
        return
    for marker, lacking in (("dpdk", lab_needs.dpdk_missing()), ("lab", lab_needs.missing())):
        for item in items if lacking else []:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason="; ".join(lacking)))


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A new directory whose path is short enough for Unix sockets in it (107 bytes at most)."""
    path = Path(tempfile.mkdtemp(prefix="dpvs-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An empty lab of this test's own. That it leaves nothing behind is part of the test."""
    with Lab(f"t{os.getpid()}x{next(_numbers)}") as made:
        yield made
    assert made.leftovers() == []
