"""Tables of results, for people and for machines: perf/out/NAME-DATE.txt and .json."""

from __future__ import annotations

import json
import os
import re
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from perf import machine
from perf.errors import PerfError
from perf.options import keeping

OUT = Path(os.environ.get("DPVS_PERF_OUT") or Path(__file__).resolve().parent / "out")


def command_line() -> str:
    """The command that was given, as it can be given again."""
    return shlex.join(["perf/run", *sys.argv[1:]])


def trio(values: Sequence[float], digits: int = 0) -> str:
    """Minimum, median and maximum in one cell."""
    return " / ".join(f"{value:,.{digits}f}" for value in values)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns: the first to the left, the others to the right."""
    table = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


@dataclass
class Report:
    """One benchmark's outcome: a table, remarks, and the figures behind them."""

    name: str
    head: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=machine.describe)
    tables: list[list[str]] = field(default_factory=list)  # more tables, ready lines

    def add(self, row: list[str], data: dict[str, Any]) -> None:
        """One case: its cells, and everything that was measured."""
        self.rows.append(row)
        self.data.append(data)

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a further table."""
        self.tables.append([title, *grid(head, rows)])

    def check_notes(self, conditions: str, rounds: int) -> None:
        """Say how it was measured and what was checked."""
        compared = sum(int(case.get("compared", 0)) for case in self.data)
        self.notes.append(
            f"{conditions}; nothing lost; {compared:,} packets equal to the oracle's, byte by byte."
        )
        near = [case["memory"] for case in self.data if "memory" in case]
        if near:
            waiting, loading = (statistics.median(one[i] for one in near) for i in (0, 1))
            self.notes.append(
                f"Meanwhile a cache line out of 32 MB was {waiting:.0f} cycles away ({loading:.0f} "
                "when loads need not wait for each other); in a shared cache of one's own it is "
                "about 70 (20)."
            )
        self.speed_notes(rounds)

    def speed_notes(self, rounds: int) -> None:
        """Say in how many rounds the core was slow."""
        crowded = sum(int(case.get("crowded", 0)) for case in self.data)
        if crowded:
            self.notes.append(
                f"{crowded} of {rounds} rounds ran while the core was slower than "
                "at its best (neighbours on the same hardware): these figures are lower bounds."
            )
        if aside := sum(int(case.get("set_aside", 0)) for case in self.data):
            self.notes.append(
                f"{aside} more rounds were set aside: a fixed piece of work before or after them "
                "showed that the core was slower then."
            )

    def finish(self) -> None:
        """Show and save.  PerfError when it cannot be saved."""
        click.echo(self.text())
        try:
            path = self.save()
        except OSError as error:
            raise PerfError(f"the results could not be kept: {error}") from error
        click.echo(f"written: {path} and .json")

    def text(self) -> str:
        """The whole report."""
        kept = ["Disturbed rounds count too (--keep-disturbed): bounds, not figures to compare."]
        notes = self.notes + kept * keeping()
        lines = [f"{self.name}: {command_line()}", *machine.lines(self.about), ""]
        lines += grid(self.head, self.rows)
        for table in self.tables:
            lines += ["", *table]
        if notes:
            lines += ["", *notes]
        return "\n".join(lines) + "\n"

    def save(self, folder: Path | None = None) -> Path:
        """Write both files; returns the path of the text."""
        target = folder or OUT
        target.mkdir(parents=True, exist_ok=True)
        stamp = re.sub(r"[^0-9]+", "-", self.about["date"]).strip("-")
        path = target / f"{self.name}-{stamp}.txt"
        path.write_text(self.text())
        content = {
            "benchmark": self.name, "command": command_line(), "machine": self.about,
            "results": self.data, "notes": self.notes,
        }  # fmt: skip
        path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
        return path
