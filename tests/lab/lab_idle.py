"""An end of a TCP connection that says nothing: `lab_idle.py listen|connect ADDRESS PORT`.

It sends a line each way, again after a line of input, then waits. Prints JSON: that it is there,
and at last how its wait ended (an errno's name, "" for a regular end) and after how many seconds.
"""

from __future__ import annotations

import errno
import fcntl
import json
import socket
import sys
import termios
import time

PATIENCE = 100.0  # seconds


def meet(kind: str, address: str, port: int) -> socket.socket:
    """A connection to somebody, or from whoever comes first."""
    if kind == "connect":
        return socket.create_connection((address, port), timeout=PATIENCE)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family) as listener:
        print(json.dumps({"ready": "listening"}), flush=True)
        return listener.accept()[0]


def exchange(sock: socket.socket) -> None:
    """A line each way, acknowledged: nothing is left to be sent again."""
    sock.sendall(b"a line....")
    assert len(sock.recv(10, socket.MSG_WAITALL)) == 10
    while fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)) != bytes(4):
        time.sleep(0.001)


def main() -> None:
    """Be one end of a connection."""
    kind, address, port = sys.argv[1:]
    with meet(kind, address, int(port)) as sock:
        sock.settimeout(PATIENCE)
        exchange(sock)
        print(json.dumps({"ready": "connected"}), flush=True)
        sys.stdin.readline()
        began, error = time.monotonic(), ""  # what follows is no earlier than this
        exchange(sock)
        print(json.dumps({"ready": "idle"}), flush=True)
        try:
            sock.recv(1)
        except OSError as problem:
            error = errno.errorcode.get(problem.errno or 0, str(problem))
        print(json.dumps({"error": error, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main()
