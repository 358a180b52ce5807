"""Run the configuration's ``commands`` block: the operator's own command lines, verbatim."""

from __future__ import annotations

import asyncio
import io
import shlex
from collections.abc import Callable, Iterable
from typing import Any

from tools import client, dpip, ipvsadm, scheduler_cli
from tools.control.dispatch import PROTOCOL_VERSION, Answerer

TOOLS = {"dpip": dpip.run, "ipvsadm": ipvsadm.run, "dpvs": scheduler_cli.run_dpvs}


class CommandFailed(Exception):
    """A command of the configuration was refused; the text names file, line and reason."""


class LoopTransport:
    """A commands' transport for a dispatcher that lives in an event loop of another thread."""

    def __init__(self, dispatcher: Answerer, loop: asyncio.AbstractEventLoop) -> None:
        self._dispatcher, self._loop = dispatcher, loop

    def call(self, kind: str, /, **fields: Any) -> Any:
        """Answer a request; raises client.ControlError when it is refused."""
        request = {"v": PROTOCOL_VERSION, "type": kind, **fields}
        future = asyncio.run_coroutine_threadsafe(self._dispatcher.answer(request), self._loop)
        reply = future.result()
        if reply["ok"]:
            return reply["data"]
        raise client.ControlError(reply["code"], reply["error"], reply["detail"])


def run_line(line: str, where: object, transport: Any) -> str:
    """Run one command line; its output.  Raises CommandFailed."""
    words = shlex.split(line)
    out, err = io.StringIO(), io.StringIO()
    code = TOOLS[words[0]](words[1:], transport, out, err)
    if code != 0:
        raise CommandFailed(f"{where}: {line}: {err.getvalue().strip() or f'exit status {code}'}")
    return out.getvalue()


async def run_commands(
    lines: Iterable[Any], dispatcher: Answerer, progress: Callable[[str], None]
) -> None:
    """Run all lines in order; the first refused one ends the start.  Raises CommandFailed."""
    transport = LoopTransport(dispatcher, asyncio.get_running_loop())
    for line in lines:
        progress(line.text)
        await asyncio.to_thread(run_line, line.text, line.origin, transport)
