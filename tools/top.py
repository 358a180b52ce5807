"""``dpvs top``: the workers at work, live."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from tools.client import ControlClient, ControlError, DaemonDown, Transport, socket_path
from tools.launch import default_name
from tools.tidy_end import ending_tidily
from tools.top_sample import Sample, compare, read
from tools.top_view import render

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # other screen, no cursor; back
HOME, TO_LINE_END, TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


def screen(blocks: list[list[str]], columns: int, rows: int) -> str:
    """The blocks as one full screen; headings stand out, what has no room is cut off."""
    lines = []
    for block in blocks:
        for number, line in enumerate(block):
            cut = line[:columns]
            lines.append(f"{BOLD}{cut}{PLAIN}" if number == 0 else cut)
        lines.append("")
    shown = lines[: rows - 1]
    return HOME + "".join(f"{line}{TO_LINE_END}\r\n" for line in shown) + TO_SCREEN_END


def page(blocks: list[list[str]]) -> str:
    """The blocks as text for files and pipes."""
    return "\n\n".join("\n".join(block) for block in blocks) + "\n\n"


def watch(
    transport: Transport,
    show: Callable[[list[list[str]]], None],
    count: int | None,
    interval: float,
    stages: bool,
    sleep: Callable[[float], Any] = time.sleep,
) -> None:
    """Show ``count`` views (None: until stopped), each over ``interval`` seconds.

    Cycle accounting is on meanwhile if ``stages``.  Raises ControlError, DaemonDown.
    """
    on = True if stages else None
    try:
        old: Sample = read(transport, on)
        shown = 0
        while count is None or shown < count:
            sleep(interval)
            new = read(transport, on)
            show(render(compare(old, new), stages))
            old, shown = new, shown + 1
    finally:
        if stages:
            with contextlib.suppress(ControlError, DaemonDown):
                transport.call("accounting", on=False)


def _on_terminal(blocks: list[list[str]]) -> None:
    columns, rows = shutil.get_terminal_size()
    sys.stdout.write(screen(blocks, columns, rows))
    sys.stdout.flush()


def _as_text(blocks: list[list[str]]) -> None:
    sys.stdout.write(page(blocks))
    sys.stdout.flush()


def run(transport: Transport, count: int | None, interval: float, stages: bool) -> str | None:
    """Watch on this terminal (or pipe) until done or interrupted; a failure's text, or None."""
    full = sys.stdout.isatty() and count is None
    with ending_tidily():
        try:
            if full:
                sys.stdout.write(ENTER)
            watch(transport, _on_terminal if full else _as_text, count, interval, stages)
        except KeyboardInterrupt:
            return None
        except BrokenPipeError:
            # Whoever read our output has enough; nothing may be written at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None
        except (ControlError, DaemonDown) as error:
            return str(error)
        finally:
            if full:
                sys.stdout.write(LEAVE)
                sys.stdout.flush()
    return None


@click.command()
@click.option("--name", default=None, help="Instance name (default: $DPVS_NAME or dpvs).")
@click.option("-n", "--count", type=click.IntRange(1), help="End after so many views.")
@click.option("--once", is_flag=True, help="One view, as -n 1.")
@click.option("--interval", type=click.FloatRange(0.05, 3600), default=1.0, show_default=True,
              help="Seconds a view covers.")  # fmt: skip
@click.option("--no-stages", is_flag=True, help="Leave cycle accounting by stage alone.")
def top(name: str | None, count: int | None, once: bool, interval: float, no_stages: bool) -> None:
    """Show load, rates, cycles by stage and drops of the workers, live (Ctrl-C ends it).

    Not on a terminal, or with -n or --once, views are printed one below the other.
    Cycles are those of all rounds of the loop divided by packets: housekeeping is done in idle
    rounds too, so it looks large when there is little traffic.
    """
    if once and count not in (None, 1):
        raise click.UsageError("--once and -n exclude each other")
    try:
        path = socket_path(name or default_name())
    except ValueError as error:
        failure: str | None = str(error)
    else:
        with ControlClient(path) as connection:
            failure = run(connection, 1 if once else count, interval, not no_stages)
    if failure:
        click.echo(f"dpvs: {failure}", err=True)
        sys.exit(1)
