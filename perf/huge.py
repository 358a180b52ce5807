"""Hugepages for one benchmark, given back to the kernel when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from netdev.eal import DpdkError
from perf.errors import PerfError
from tools.daemon import hugepages

PAGE = 2 << 20
BUFFER = 2432  # bytes of one mbuf with everything around it, see tools/settings_memory.py
FIXED = 64 << 20


def pages_for(buffers: int, table_bytes: int) -> int:
    """2 MB pages that so many mbufs and a table take."""
    return -(-(FIXED + buffers * BUFFER + table_bytes) // PAGE)


def _total() -> int:
    return int((hugepages.POOL / "nr_hugepages").read_text())


@contextmanager
def reserved(pages: int) -> Iterator[None]:
    """``pages`` free pages inside the block.  Raises PerfError with the command that would help."""
    try:
        before = _total()
        hugepages.ensure(pages)
        added = _total() - before
    except (DpdkError, OSError) as error:
        raise PerfError(str(error)) from error
    try:
        yield
    finally:
        if added > 0:
            (hugepages.POOL / "nr_hugepages").write_text(str(max(0, _total() - added)))
