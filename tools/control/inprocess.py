"""The commands' transport without a socket: requests go straight to a dispatcher.

Serves offline runs, where commands are executed inside the process that owns the state.
"""

from __future__ import annotations

from typing import Any

from tools import client

from .dispatch import PROTOCOL_VERSION, Dispatcher


class InProcessTransport:
    """A `client.Transport` whose daemon is in this process."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def call(self, kind: str, /, **fields: Any) -> Any:
        """Answer a request of type `kind`; raises client.ControlError when it is refused."""
        reply = self._dispatcher.dispatch({"v": PROTOCOL_VERSION, "type": kind, **fields})
        if reply["ok"]:
            return reply["data"]
        raise client.ControlError(reply["code"], reply["error"], reply["detail"])
