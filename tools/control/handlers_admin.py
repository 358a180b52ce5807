"""Requests about the daemon itself."""

from __future__ import annotations

import os
from typing import Any

from .config_dump import command_lines
from .context import Context, Handler
from .fields import Fields

#: the release of the original whose behaviour we follow; its tools print it
VERSION = "1.10.2"


def _info(context: Context, fields: Fields) -> dict[str, Any]:
    fields.done()
    return {
        "version": VERSION,
        "pid": os.getpid(),
        "workers": context.counters.n_workers,
        "services": len(context.state.ipvs.services),
        "name": context.daemon.name,
    }


def _status(context: Context, fields: Fields) -> dict[str, Any]:
    fields.done()
    state = context.state
    return {"tables": state.summary(), "params": dict(state.params), **context.daemon.status()}


def _stop(context: Context, fields: Fields) -> None:
    fields.done()
    context.daemon.stop()


def _counters(context: Context, fields: Fields) -> dict[str, Any]:
    fields.done()
    cids = range(1, context.counters.n_workers + 1)
    named = context.counters.named_counters
    return {"workers": [{"cid": cid, "counters": dict(named(cid))} for cid in cids]}


def _accounting(context: Context, fields: Fields) -> dict[str, Any]:
    on = fields.flag("on") if fields.has("on") else None
    fields.done()
    return dict(context.counters.account(on))


def _state_dump(context: Context, fields: Fields) -> dict[str, Any]:
    fields.done()
    return {"commands": command_lines(context.state)}


HANDLERS: dict[str, Handler] = {
    "info": _info,
    "status": _status,
    "stop": _stop,
    "counters": _counters,
    "accounting": _accounting,
    "state.dump": _state_dump,
}
