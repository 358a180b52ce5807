"""Start the master process in the background and follow its progress until it is ready."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from runtime.config_report import ConfigError
from runtime.shm_instance import (
    RUN_ROOT,
    InstanceBusy,
    InstanceClaim,
    InstanceError,
    claim_instance,
)
from runtime.shm_owner import check_instance
from tools import client, settings

ERRORS = "master.err"  # in the folder of an instance: what the daemon wrote to standard error


def default_name() -> str:
    """Instance name from the environment, else the default."""
    return os.environ.get("DPVS_NAME") or client.DEFAULT_NAME


def instance_name(config: str, name: str | None) -> str:
    """Command line, then configuration, then environment.

    Raises ConfigError or OSError for a configuration with errors, ValueError for an impossible
    name.
    """
    conf = settings.load(config).settings
    return check_instance(name if name is not None else conf.global_defs.name or default_name())


def environment() -> dict[str, str]:
    """The master runs no compiled code: it imports the path's declarations only."""
    return {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONUNBUFFERED": "1"}


def wait_gone(pid: int, seconds: float) -> bool:
    """True when process ``pid`` has ended within the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        try:
            if state.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def tidy(name: str, failed: bool, claim: InstanceClaim | None = None) -> bool:
    """Remove what an instance that does not run has in its folder, and the folder.

    What it wrote to standard error stays when it ``failed``; False when that is the case.  An
    instance that runs is left alone, unless the caller is it and hands over its ``claim``.
    """
    try:
        held = claim or claim_instance(name, RUN_ROOT, attempts=1)
    except (InstanceBusy, InstanceError, ValueError):
        return True
    errors = RUN_ROOT / name / ERRORS
    if not failed or not (errors.exists() and errors.stat().st_size):
        errors.unlink(missing_ok=True)
    held.release(remove=True)
    return not errors.exists()


def launch(
    config: str, name: str | None, foreground: bool, show: Callable[[str], None] | None
) -> str:
    """Start the daemon; returns an empty string when it is ready, else why it is not.

    Progress lines go to ``show``.  In the foreground it returns when the daemon has ended.
    """
    try:
        chosen = instance_name(config, name)
    except (ConfigError, OSError, ValueError) as error:
        return str(error)
    read_end, write_end = os.pipe()
    folder = RUN_ROOT / chosen
    try:
        errors = _open_errors(folder)
    except OSError as error:
        return f"{folder}: {error.strerror}: run as root"
    command = [sys.executable, "-m", "tools.daemon.main", chosen, config, str(write_end)]
    root = Path(__file__).resolve().parent.parent
    child = subprocess.Popen(
        [command[0], "-P", *command[1:]],
        pass_fds=(write_end,),
        stdin=subprocess.DEVNULL,
        stdout=None if foreground else errors,
        stderr=None if foreground else errors,
        start_new_session=not foreground,
        env={**environment(), "PYTHONPATH": str(root)},
    )
    os.close(write_end)
    errors.close()
    failure = _follow(child, read_end, foreground, show)
    if failure and not tidy(chosen, failed=True):
        failure += f" (more in {folder / ERRORS})"
    return failure


def _open_errors(folder: Path) -> BinaryIO:
    """Where the master's standard error goes; a daemon that ends may be removing the folder."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return open(folder / ERRORS, "ab")


def _follow(
    child: subprocess.Popen[bytes],
    pipe: int,
    foreground: bool,
    show: Callable[[str], None] | None,
) -> str:
    """Show the child's progress; an empty string when it is ready (or has ended well)."""
    began = time.monotonic()
    outcome = ""
    with os.fdopen(pipe) as lines:
        for line in lines:
            word, _, text = line.rstrip("\n").partition(" ")
            if word == "progress" and show:
                show(f"[{time.monotonic() - began:5.1f} s] {text}")
            elif word == "failed":
                outcome = text.replace("\\n", "\n")
            elif word == "ready":
                outcome = "ready"
                break
    if outcome == "ready":
        if show:
            show(f"[{time.monotonic() - began:5.1f} s] ready, pid {child.pid}")
        if foreground:
            return "" if child.wait() == 0 else f"the daemon ended with status {child.returncode}"
        return ""
    child.wait()
    return outcome or f"the master ended with status {child.returncode}"
