"""Repeat a measurement until enough rounds were undisturbed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

from perf.errors import PerfError
from perf.watch import Watch

PATIENCE = 8  # attempts per wanted round
AT_LEAST = 40  # attempts


def undisturbed(watch: Watch, count: int, measure: Callable[[], Any]) -> list[Any]:
    """Results of ``count`` calls of ``measure`` during which the core was ours.

    Disturbed rounds are thrown away.  PerfError when there are too many of them.  How many of the
    others were crowded is added to ``watch.crowded_rounds``.
    """
    results: list[Any] = []
    troubles: Counter[str] = Counter()
    attempts = max(AT_LEAST, count * PATIENCE)
    for _ in range(attempts):
        with watch:
            result = measure()
        if watch.trouble:
            troubles[watch.trouble] += 1
            continue
        results.append(result)
        watch.crowded_rounds += watch.crowded
        if len(results) == count:
            return results
    worst, _ = troubles.most_common(1)[0]
    raise PerfError(
        f"only {len(results)} of {attempts} rounds were undisturbed ({worst}): no rate "
        "is shown; stop other programs, or try again"
    )


def spread(values: list[float]) -> list[float]:
    """Minimum, median and maximum."""
    return [min(values), statistics.median(values), max(values)]
