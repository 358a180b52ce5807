"""The tables of counters that dpip prints: a line of titles, a line of values, and so on."""

from collections.abc import Callable
from typing import Any

INDENT = "    "
COUNTER_WIDTH = 20
RATE_WIDTH = 16

Layout = tuple[tuple[tuple[str, str], ...], ...]
"""Lines of (title, key of the value)."""


def table(layout: Layout, width: int, value_of: Callable[[str], str]) -> str:
    """The layout filled in, every cell padded to the width (also the last of a line)."""
    lines = []
    for cells in layout:
        lines.append(INDENT + "".join(f"{title:<{width}}" for title, _ in cells))
        lines.append(INDENT + "".join(f"{value_of(key):<{width}}" for _, key in cells))
    return "".join(f"{line}\n" for line in lines)


def counter_table(layout: Layout, values: dict[str, Any]) -> str:
    """Counters as they are."""
    return table(layout, COUNTER_WIDTH, lambda key: str(int(values[key])))


def rate_table(layout: Layout, before: dict[str, Any], after: dict[str, Any], seconds: int) -> str:
    """Counters as their growth a second; one that was reset in between shows 0."""
    return table(
        layout, RATE_WIDTH, lambda key: str(max(0, int(after[key]) - int(before[key])) // seconds)
    )


def with_units(layout: Layout, units: dict[str, str], default: str) -> Layout:
    """The layout with the unit of a rate appended to every title."""
    return tuple(
        tuple((f"{title}/{units.get(key, default)}", key) for title, key in cells)
        for cells in layout
    )
