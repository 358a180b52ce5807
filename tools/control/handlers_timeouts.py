"""Requests about the timeouts of all connections."""

from __future__ import annotations

from .context import Context, Handler
from .fields import Fields
from .timeouts import NAMES, in_force

LONGEST = 2678400  # 31 days, as the commands have it


def _set(context: Context, fields: Fields) -> None:
    """0 leaves a timeout as it is."""
    wanted = {name: fields.integer(name, 0, LONGEST, default=0) for name in NAMES}
    fields.done()
    chosen = {name: seconds for name, seconds in wanted.items() if seconds}
    if chosen:
        context.state.set_timeouts(chosen)


def _show(context: Context, fields: Fields) -> dict[str, int]:
    fields.done()
    return in_force(context.state.params)


HANDLERS: dict[str, Handler] = {"timeout.set": _set, "timeout.show": _show}
