"""The one error of the benchmarks."""

from __future__ import annotations


class PerfError(Exception):
    """A benchmark that cannot be run or did not do its work; the text is one clear sentence."""
