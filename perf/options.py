"""Options that several benchmarks have."""

from __future__ import annotations

import os
from typing import Any

import click

KEEP = "DPVS_PERF_KEEP_DISTURBED"

ROUNDS = click.option(
    "--rounds", type=click.IntRange(1, 1000), default=7, show_default=True, help="Rounds a case."
)
SECONDS = click.option(
    "--seconds", type=click.FloatRange(0.01, 0.6), default=0.05, show_default=True,
    help="Length of a round: short ones, between the times in which a shared core is slow.",
)  # fmt: skip
CPU = click.option(
    "--cpu", type=click.IntRange(0, 4095), help="Measure on this cpu (default: the highest)."
)


def keeping() -> bool:
    """Do disturbed rounds count?  A choice for the whole command, so it is in the environment."""
    return bool(os.environ.get(KEEP))


class Counts(click.ParamType):
    """A comma-separated list of whole numbers from 1 to ``most``."""

    name = "N,N,..."

    def __init__(self, most: int) -> None:
        self.most = most

    def convert(self, value: Any, param: Any, ctx: Any) -> list[int]:
        """The numbers, in the order given."""
        if isinstance(value, list):
            return value
        try:
            found = [int(word) for word in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 1,1024", param, ctx)
        if not all(1 <= number <= self.most for number in found):
            self.fail(f"each is from 1 to {self.most}", param, ctx)
        return found
