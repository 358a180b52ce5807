"""Reload of the configuration while the daemon runs (SIGHUP, ``dpvs reload``)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from runtime.config_diff import diff, reloaded
from runtime.config_report import ConfigError
from tools import settings
from tools.daemon import plan
from tools.settings_model import Settings

_log = logging.getLogger(__name__)


def reload(
    config: str,
    current: Settings,
    set_params: Callable[[Mapping[str, Any]], None],
    set_log: Callable[[str, str | None], None],
) -> Settings:
    """Read ``config`` again and apply what may change at run time; the settings now in force.

    A file with errors changes nothing.  What needs a restart is named in the log and stays as it
    was, so the file and the daemon can be compared at any time.
    """
    try:
        wanted = settings.load(config).settings
    except (ConfigError, OSError) as error:
        _log.error("reload refused, nothing changed: %s", error)
        return current
    applied, kept = diff(current, wanted)
    merged = reloaded(current, wanted)
    for change in applied:
        _log.info("reload: %s", change)
    for change in kept:
        _log.warning("reload: %s needs a restart", change)
    set_params(plan.parameters(merged))
    set_log(merged.global_defs.log_level, merged.global_defs.log_file)
    _log.info("reload of %s done: %d changed, %d need a restart", config, len(applied), len(kept))
    return merged
