"""Requests about user-written schedulers."""

from __future__ import annotations

from typing import Any

from .context import Context, Handler
from .fields import Fields
from .schedulers import UserScheduler

LARGEST_SOURCE = 64 * 1024
LONGEST_PATH = 4096


async def _sched_load(context: Context, fields: Fields) -> dict[str, Any]:
    name = fields.text("name")
    source = fields.document("source", LARGEST_SOURCE)
    path = fields.text("path", "", limit=LONGEST_PATH)
    fields.done()
    schedulers = context.state.schedulers
    schedulers.check_name(name)
    code, entry, fixups = await context.daemon.compile_scheduler(source)
    schedulers.load(UserScheduler(name, path, source, code, entry, fixups))
    return {"bytes": len(code)}


def _sched_unload(context: Context, fields: Fields) -> None:
    name = fields.text("name")
    fields.done()
    context.state.schedulers.unload(name)


def _sched_list(context: Context, fields: Fields) -> dict[str, Any]:
    fields.done()
    return {"schedulers": context.state.schedulers.rows()}


HANDLERS: dict[str, Handler] = {
    "sched.load": _sched_load,
    "sched.unload": _sched_unload,
    "sched.list": _sched_list,
}
