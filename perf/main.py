"""``perf/run``: the benchmarks, each in a module of this folder that has a ``command``."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path

import click

from perf.errors import PerfError
from perf.options import KEEP

FOLDER = Path(__file__).resolve().parent
_COMMAND = re.compile(r"^(def command\b|command\s*[:=])", re.MULTILINE)


def benchmarks() -> list[str]:
    """Names of the modules here that define a click command called ``command``."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if _COMMAND.search(p.read_text()))


class Benchmarks(click.Group):
    """A group whose commands are found, not listed: a new benchmark is a new file."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All benchmarks."""
        return benchmarks()

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The benchmark of that name, or None."""
        if name not in benchmarks():
            return None
        found: click.Command = importlib.import_module(f"perf.{name}").command
        return found


@click.group(cls=Benchmarks, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep-disturbed", is_flag=True,
              help="Rounds count in which other programs or a slow core disturbed the measurement: "
                   "the figures are bounds.")  # fmt: skip
def group(keep_disturbed: bool) -> None:
    """Measure the packet path; every result is checked, printed and kept in perf/out."""
    if keep_disturbed:
        os.environ[KEEP] = "1"  # for the measuring processes too


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark; exit status 0, 1 (not measured) or 2 (bad arguments)."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        status = group.main(words or ["--help"], prog_name="perf/run", standalone_mode=False)
    except click.UsageError as error:
        text = error.format_message()
        if "No such command" in text:
            text = f"{text.rstrip('.')}; there are {', '.join(benchmarks())}"
        click.echo(f"perf: {text}", err=True)
        return 2
    except click.Abort:
        click.echo("perf: interrupted", err=True)
        return 130
    except (PerfError, click.ClickException) as error:
        click.echo(f"perf: {error}", err=True)
        return 1
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
