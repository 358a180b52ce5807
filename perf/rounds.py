"""Repeat a measurement until enough rounds had the core at its best."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

from perf.errors import PerfError
from perf.options import keeping
from perf.watch import Watch

PATIENCE = 8  # attempts per wanted round
AT_LEAST = 40  # attempts


def undisturbed(
    watch: Watch, count: int, measure: Callable[[], Any], attempts: int | None = None
) -> list[Any]:
    """Results of ``count`` calls of ``measure`` (``attempts`` at most) with the core all ours.

    Disturbed rounds are thrown away.  PerfError when there are too many of them.  Crowded ones are
    set aside, and come in only for what is lacking when patience ends; how many did is added to
    ``watch.crowded_rounds``, how many others there were to ``watch.set_aside``.
    """
    best: list[Any] = []
    crowded: list[Any] = []
    troubles: Counter[str] = Counter()
    attempts = attempts or max(AT_LEAST, count * PATIENCE)
    for _ in range(attempts):
        with watch:
            result = measure()
        if watch.trouble:
            troubles[watch.trouble] += 1
        else:
            (crowded if watch.crowded else best).append(result)
        if len(best) == count or (keeping() and len(best) + len(crowded) == count):
            break
    lacking = count - len(best)
    if lacking > len(crowded):
        worst, _ = troubles.most_common(1)[0]
        raise PerfError(
            f"only {len(best) + len(crowded)} of {attempts} rounds were undisturbed ({worst}): no "
            "rate is shown; stop other programs, or try again"
        )
    watch.crowded_rounds += lacking
    watch.set_aside += len(crowded) - lacking
    return best + crowded[:lacking]


def spread(values: list[float]) -> list[float]:
    """Minimum, median and maximum."""
    return [min(values), statistics.median(values), max(values)]
