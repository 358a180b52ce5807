"""An end of a TCP connection that falls silent: `lab_idle.py listen|connect ADDRESS PORT`.

It sends something now and then until a line of input, then it waits. Prints JSON: that it is there,
that it is idle, and at last how its wait ended (an errno's name, "" for a regular end) and after
how many seconds.
"""

from __future__ import annotations

import errno
import fcntl
import json
import select
import socket
import sys
import termios
import time

PATIENCE = 60.0  # seconds
EVERY = 0.1  # seconds between two packets


def meet(kind: str, address: str, port: int) -> socket.socket:
    """A connection to somebody, or from whoever comes first."""
    if kind == "connect":
        return socket.create_connection((address, port), timeout=PATIENCE)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family) as listener:
        print(json.dumps({"ready": "listening"}), flush=True)
        return listener.accept()[0]


def talk(sock: socket.socket) -> float:
    """Send until a line of input, and until all is acknowledged; when the last was sent."""
    while True:
        began = time.monotonic()
        sock.sendall(b".")
        if select.select([sys.stdin], [], [], EVERY)[0]:
            break
    while fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)) != bytes(4):
        time.sleep(0.001)
    return began


def main() -> None:
    """Be one end of a connection."""
    kind, address, port = sys.argv[1:]
    with meet(kind, address, int(port)) as sock:
        sock.settimeout(PATIENCE)
        sock.sendall(b".")
        sock.recv(1)
        print(json.dumps({"ready": "connected"}), flush=True)
        began, error = talk(sock), ""
        print(json.dumps({"ready": "idle"}), flush=True)
        try:
            while sock.recv(1000):
                pass
        except OSError as problem:
            error = errno.errorcode.get(problem.errno or 0, str(problem))
        print(json.dumps({"error": error, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main()
