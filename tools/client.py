"""Client of the native control socket: one call sends a request and waits for its reply."""

import os
import re
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

from tools import frames

VERSION = 1
DEFAULT_NAME = "dpvs"
INVALID = -1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ControlError(Exception):
    """The daemon refused a request.

    `code` is the negative error code, `error` its standard short text ("already exist"), `detail`
    one sentence on what exactly was wrong (may be empty).
    """

    def __init__(self, code: int, error: str, detail: str = "") -> None:
        super().__init__(code, error, detail)
        self.code = code
        self.error = error
        self.detail = detail

    def __str__(self) -> str:
        """Short text and detail in one sentence, without saying the same thing twice."""
        if not self.detail or self.detail == self.error:
            return self.error
        if self.detail.startswith(self.error):
            return self.detail
        return f"{self.error}: {self.detail}"


class DaemonDown(Exception):
    """No daemon could be reached, or it stopped answering; the text is one sentence."""


class Transport(Protocol):
    """What the commands need of a connection: the socket client, or an in-process stand-in."""

    def call(self, kind: str, /, **fields: Any) -> Any:
        """Send a request of type `kind` and return the `data` of its reply.

        Raises ControlError when the daemon refuses, DaemonDown when it does not answer.
        """


def socket_path(name: str = DEFAULT_NAME, environ: Mapping[str, str] = os.environ) -> str:
    """Path of the control socket of the instance `name`; DPVS_SOCKET overrides it as a whole.

    Raises ValueError for a name that could not be a directory of its own.
    """
    if override := environ.get("DPVS_SOCKET"):
        return override
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"'{name}' cannot name a dpvs instance: use letters, digits, '.', '_', '-'"
        )
    return f"/run/dpvs/{name}/ctl.sock"


class ControlClient:
    """Synchronous client. It connects at the first call and keeps the connection for the next.

    `timeout` bounds, in seconds, the connect and every wait for bytes of a reply.
    """

    def __init__(self, path: str, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._decoder = frames.FrameDecoder()
        self._seq = 0

    def __enter__(self) -> "ControlClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection; a later call opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._decoder = frames.FrameDecoder()

    def call(self, kind: str, /, **fields: Any) -> Any:
        """Send one request and return the `data` of its reply (see Transport.call)."""
        self._seq += 1
        request = {"v": VERSION, "seq": self._seq, "type": kind, **fields}
        try:
            frame = frames.encode(request)
        except frames.FrameError as fault:
            raise ControlError(INVALID, "invalid parameter", str(fault)) from fault
        try:
            reply = self._exchange(frame)
        except TimeoutError as fault:
            self.close()
            raise DaemonDown(f"{self._path}: no answer in {self._timeout:g} seconds") from fault
        except OSError as fault:
            self.close()
            raise DaemonDown(f"{self._path}: {fault.strerror or fault}") from fault
        except frames.FrameError as fault:
            self.close()
            raise DaemonDown(f"{self._path}: the answer cannot be read: {fault}") from fault
        return self._data_of(reply)

    def _exchange(self, frame: bytes) -> dict[str, Any]:
        if self._socket is None:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket = link
            link.settimeout(self._timeout)
            link.connect(self._path)
        self._socket.sendall(frame)
        while True:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError(None, "the daemon closed the connection")
            for reply in self._decoder.feed(data):
                # A reply to an earlier request that was given up on is not ours.
                if reply.get("seq") == self._seq:
                    return reply

    def _data_of(self, reply: dict[str, Any]) -> Any:
        if reply.get("v") != VERSION:
            self.close()
            raise DaemonDown(
                f"{self._path}: it speaks version {reply.get('v')!r} of the control protocol, "
                f"not {VERSION}"
            )
        if reply.get("ok") is True:
            return reply.get("data")
        code = reply.get("code")
        raise ControlError(
            code if isinstance(code, int) else INVALID,
            str(reply.get("error") or "request failed"),
            str(reply.get("detail") or ""),
        )
