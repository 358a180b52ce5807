"""Percentiles out of the histograms of perf/latency_nic.py."""

from __future__ import annotations

from collections.abc import Sequence

from perf.latency_nic import FINE

SHARES = {"p50": 0.5, "p99": 0.99, "p99.99": 0.9999, "max": 1.0}


def upper_edge(slot: int) -> int:
    """Largest number of cycles that is counted in a slot."""
    if slot < FINE:
        return slot
    doublings, rest = divmod(slot - FINE // 2, FINE // 2)
    return ((FINE // 2 + rest + 1) << doublings) - 1


def percentile(histogram: Sequence[int], share: float) -> int:
    """Cycles that no more than ``1 - share`` of all took longer than; 0 for an empty histogram."""
    total = sum(histogram)
    need = share * total
    seen = 0
    for slot, count in enumerate(histogram):
        seen += count
        if count and seen >= need:
            return upper_edge(slot)
    return 0


def in_microseconds(histogram: Sequence[int], hz: int) -> dict[str, float]:
    """The percentiles of SHARES in microseconds."""
    return {name: percentile(histogram, share) / hz * 1e6 for name, share in SHARES.items()}
