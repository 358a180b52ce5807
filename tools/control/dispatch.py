"""Requests in, replies out: one table of handlers, usable with and without a socket."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from . import (
    handlers_admin,
    handlers_inet,
    handlers_ipvs,
    handlers_ipvs_list,
    handlers_link,
    handlers_route,
    handlers_sched,
    handlers_timeouts,
    support,
)
from .context import Context, Handler
from .errors import Code, ControlError
from .fields import Fields, shown

PROTOCOL_VERSION = 1

HANDLERS: dict[str, Handler] = {
    **handlers_ipvs.HANDLERS,
    **handlers_ipvs_list.HANDLERS,
    **handlers_inet.HANDLERS,
    **handlers_route.HANDLERS,
    **handlers_link.HANDLERS,
    **handlers_admin.HANDLERS,
    **handlers_sched.HANDLERS,
    **handlers_timeouts.HANDLERS,
}

_log = logging.getLogger(__name__)


def failure(seq: int, error: ControlError) -> dict[str, Any]:
    """The reply to a refused request."""
    return {
        "v": PROTOCOL_VERSION,
        "seq": seq,
        "ok": False,
        "code": int(error.code),
        "error": error.text,
        "detail": error.detail,
    }


class Answerer(Protocol):
    """Whatever a server can hand requests to: a dispatcher, or what waits behind one."""

    async def answer(self, request: Mapping[Any, Any]) -> dict[str, Any]:
        """The reply to one request; never raises."""


class Dispatcher:
    """Answers requests against one context. Never raises, whatever the request is."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def answer(self, request: Mapping[Any, Any]) -> dict[str, Any]:
        """The reply to one request."""
        seq = request.get("seq", 0)
        try:
            fields = Fields(request)
            if type(seq) is not int:
                wrong, seq = fields.wrong("seq", "an integer"), 0
                raise wrong
            fields.has("seq")
            fields.integer("v", PROTOCOL_VERSION, PROTOCOL_VERSION, default=PROTOCOL_VERSION)
            kind = fields.text("type")
            handler = HANDLERS.get(kind)
            if handler is None:
                support.request_type(kind)
                raise ControlError(Code.NOTSUPP, f"there is no request type {shown(kind)}")
            data = handler(self._context, fields)
            if inspect.isawaitable(data):
                data = await data
            return {"v": PROTOCOL_VERSION, "seq": seq, "ok": True, "data": data}
        except ControlError as error:
            return failure(seq, error)
        except Exception:
            # a fault of ours must not take the server down, and must leave a trace
            _log.exception("request %s failed", shown(request.get("type")))
            text = "the daemon failed to handle the request; its log says why"
            return failure(seq, ControlError(Code.CALLBACKFAIL, text))

    def dispatch(self, request: Mapping[Any, Any]) -> dict[str, Any]:
        """The reply to one request, without an event loop.

        For in-process callers whose providers answer at once; a request that would have to wait
        for a worker is refused with BUSY.
        """
        answer = self.answer(request)
        try:
            answer.send(None)
        except StopIteration as done:
            return done.value
        answer.close()
        text = "the request has to wait for a worker, which is not possible here"
        return failure(request.get("seq", 0), ControlError(Code.BUSY, text))
