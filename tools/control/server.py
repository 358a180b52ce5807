"""The control socket: frames of requests in, frames of replies out, in order.

A client can do no more harm than losing its own connection: it is closed after a frame that cannot
be read, after a frame that does not become complete in time, and when its replies are not taken.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from pathlib import Path
from typing import Any

from tools.frames import FrameDecoder, FrameError, encode

from .dispatch import Answerer, failure
from .errors import Code, ControlError

_CHUNK = 65536
_log = logging.getLogger(__name__)


class ControlServer:
    """Serves one dispatcher on one Unix socket, readable and writable by the owner only."""

    def __init__(
        self,
        dispatcher: Answerer,
        path: str,
        *,
        max_clients: int = 64,
        patience: float = 10.0,
    ) -> None:
        """`patience`: seconds a client may take to finish a frame or to take a reply."""
        self.path = path
        self._dispatcher = dispatcher
        self._max_clients = max_clients
        self._patience = patience
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._inode = 0

    async def start(self) -> None:
        """Create the socket (and its directory) and begin to serve.

        Raises ControlError: BUSY when another process serves this path, IO when the path cannot
        be used. A socket file left behind by a dead process is replaced.
        """
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(self.path)
            mask = os.umask(0o177)
            try:
                self._server = await asyncio.start_unix_server(self._accept, self.path)
            finally:
                os.umask(mask)
            self._inode = os.stat(self.path).st_ino
        except OSError as error:
            why = error.strerror or str(error)
            raise ControlError(Code.IO, f"cannot serve {self.path}: {why}") from error

    async def close(self) -> None:
        """Stop serving, drop all clients, remove the socket file."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        try:
            # another instance may have replaced the file in the meantime
            if os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except FileNotFoundError:
            pass

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) > self._max_clients:
                text = f"there are {self._max_clients} clients already; try again later"
                await self._send(writer, failure(0, ControlError(Code.BUSY, text)))
            else:
                await self._serve(reader, writer)
        except (OSError, TimeoutError):
            # gone, or too slow: nobody is left to tell
            writer.transport.abort()
        except asyncio.CancelledError:
            # by close(); asyncio of CPython 3.11 takes a handler that ends cancelled for a mistake
            writer.transport.abort()
        except Exception:
            _log.exception("a control connection failed")
            writer.transport.abort()
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        clock = asyncio.get_running_loop().time
        deadline: float | None = None
        while True:
            async with asyncio.timeout_at(deadline):
                data = await reader.read(_CHUNK)
            if not data:
                return
            try:
                requests = decoder.feed(data)
            except FrameError as error:
                await self._send(writer, failure(0, ControlError(Code.INVAL, str(error))))
                return
            for request in requests:
                await self._send(writer, await self._dispatcher.answer(request))
                # one client's backlog must not hold up the others
                await asyncio.sleep(0)
            if not decoder.pending:
                deadline = None
            elif deadline is None or requests:
                deadline = clock() + self._patience

    async def _send(self, writer: asyncio.StreamWriter, reply: dict[str, Any]) -> None:
        try:
            frame = encode(reply)
        except FrameError as error:
            text = f"the reply cannot be sent: {error}"
            frame = encode(failure(reply["seq"], ControlError(Code.NOROOM, text)))
        writer.write(frame)
        async with asyncio.timeout(self._patience):
            await writer.drain()


def _remove_stale(path: str) -> None:
    """Remove the socket file of a dead process; BUSY when a live one answers."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "a file that is not a socket is in the way")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            Path(path).unlink(missing_ok=True)
            return
    raise ControlError(Code.BUSY, f"another process serves {path}")
