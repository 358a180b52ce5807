"""Hugepages for one benchmark, given back to the kernel when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netdev.eal import DpdkError
from perf.errors import PerfError
from tools.daemon import hugepages
from tools.tidy_end import ending_tidily

PAGE = 2 << 20
BUFFER = 2432  # bytes of one mbuf with everything around it, see tools/settings_memory.py
FIXED = 128 << 20  # DPDK itself, and the block that memory_loop.near_block looks at


def pages_for(buffers: int, table_bytes: int) -> int:
    """2 MB pages that so many mbufs and a table take."""
    return -(-(FIXED + buffers * BUFFER + table_bytes) // PAGE)


def _total() -> int:
    return int((hugepages.POOL / "nr_hugepages").read_text())


def _obtainable() -> int:
    """Pages that are free, or that the kernel could make of free memory."""
    free = int((hugepages.POOL / "free_hugepages").read_text())
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            # A tenth stays: a kernel without memory ends programs.
            free += int(line.split()[1]) * 1024 * 9 // 10 // PAGE
    return free


def _give_back(added: int) -> None:
    if added > 0:
        (hugepages.POOL / "nr_hugepages").write_text(str(max(0, _total() - added)))


@contextmanager
def reserved(pages: int) -> Iterator[None]:
    """``pages`` free pages inside the block.  Raises PerfError with the command that would help.

    They go back however the block ends: SIGTERM and SIGHUP are exceptions inside.
    """
    with ending_tidily():
        yield from _held(pages)


def _held(pages: int) -> Iterator[None]:
    added = 0
    try:
        before = _total()
        if _obtainable() < pages:
            raise PerfError(
                f"{pages} hugepages of 2 MB ({pages * PAGE >> 20} MB) needed, this machine "
                f"can give {_obtainable()}: make the table smaller (--table, --sessions) "
                "or free memory"
            )
        try:
            hugepages.ensure(pages)
        finally:
            added = _total() - before
        yield
    except DpdkError as error:
        raise PerfError(str(error)) from error
    finally:
        _give_back(added)
