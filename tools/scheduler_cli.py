"""``dpvs scheduler``: load, show, remove schedulers that operators wrote (docs/schedulers.md)."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, TextIO

from tools import client

USAGE = """\
usage: dpvs scheduler load FILE [NAME]    compile FILE and give it to every worker
       dpvs scheduler show [NAME]         list the loaded ones, or print one's source
       dpvs scheduler unload NAME         remove one that no service uses
       dpvs scheduler check FILE          say whether FILE would load; no daemon is asked
"""


class UsageError(Exception):
    """The words are no scheduler command; the text says why."""


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _load(transport: Any, path: str, name: str | None) -> str:
    chosen = name or Path(path).stem
    full = str(Path(path).resolve())
    try:
        done = transport.call("sched.load", name=chosen, source=_read(path), path=full)
    except client.ControlError as error:
        raise UsageError(f"{path}: {error.detail or error}") from error
    return f"{chosen}: loaded ({done['bytes']} bytes of machine code)\n"


def _show(transport: Any, name: str | None) -> str:
    rows = transport.call("sched.list")["schedulers"]
    if name is None:
        return "".join(
            f"{row['name']}: used by {row['services']} service(s), {row['bytes']} bytes"
            f"{', from ' + row['path'] if row['path'] else ''}\n"
            for row in rows
        )
    for row in rows:
        if row["name"] == name:
            return str(row["source"])
    raise UsageError(f"there is no loaded scheduler '{name}'")


def _check(path: str) -> str:
    from tools.daemon.scheduler_build import compile_here

    result = compile_here(_read(path))
    if isinstance(result, str):
        raise UsageError(f"{path}: {result}")
    return f"{path}: good\n"


def _execute(argv: list[str], transport: Any) -> str:
    match argv:
        case ["load", path]:
            return _load(transport, path, None)
        case ["load", path, name]:
            return _load(transport, path, name)
        case ["show"] | ["list"] | []:
            return _show(transport, None)
        case ["show" | "list", name]:
            return _show(transport, name)
        case ["unload", name]:
            transport.call("sched.unload", name=name)
            return ""
        case ["check", path]:
            return _check(path)
    raise UsageError(f"`{shlex.join(argv)}' is no scheduler command\n{USAGE}".rstrip())


def run(argv: list[str], transport: Any, out: TextIO, err: TextIO) -> int:
    """Run one command (the words after ``scheduler``); returns the exit status."""
    try:
        out.write(_execute(argv, transport))
    except UsageError as error:
        err.write(f"dpvs scheduler: {error}\n")
        return 1
    except (client.ControlError, client.DaemonDown, ValueError) as error:
        err.write(f"dpvs scheduler: {getattr(error, 'detail', '') or error}\n")
        return 1
    return 0


def run_dpvs(argv: list[str], transport: Any, out: TextIO, err: TextIO) -> int:
    """``dpvs scheduler ...`` as a line of the configuration's ``commands``."""
    return run(argv[1:], transport, out, err)
