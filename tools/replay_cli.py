"""The command line side of ``dpvs replay``: options in, a short report out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from runtime.config_report import ConfigError
from tools import settings
from tools.daemon.replay import ReplayError, replay


def report(result: dict[str, Any]) -> list[str]:
    """Lines that tell what became of the frames."""
    drops = ", ".join(f"{name} {count}" for name, count in result["drops"].items())
    return [
        f"{result['received']} of {result['frames']} frames read, {result['sent']} sent, "
        f"{result['connections']} connections",
        f"dropped: {drops or 'none'}",
    ]


def run_replay(
    source: str, target: str, config: str, inputs: Sequence[str], show: Callable[[str], None]
) -> str:
    """Replay and report; returns an empty string, or why it failed."""
    from netdev.eal import DpdkError
    from tools.daemon.commands import CommandFailed

    pairs = [text.partition("=") for text in inputs]
    if any(not equals or not path for _, equals, path in pairs):
        return "--in takes DEVICE=FILE"
    try:
        loaded = settings.load(config)
        files = {device: path for device, _, path in pairs}
        result = replay(loaded.settings, source, target, files)
    except (ReplayError, ConfigError, DpdkError, CommandFailed, OSError, ValueError) as error:
        return str(error)
    for line in report(result):
        show(line)
    return ""
