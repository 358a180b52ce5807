"""Clients of ``perf/run lab``, run in the client's namespace; each prints lines of JSON.

    lab_clients.py probe ADDRESS PORT       datagrams, from a line of input on, until an answer
    lab_clients.py hold ADDRESS PORT COUNT  TCP connections, always a line under way on each

Times are CLOCK_MONOTONIC in seconds: the same clock in every process of a machine.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from typing import Any

EVERY = 0.005  # seconds between datagrams, and between the looks at the connections
PATIENCE = 60.0  # seconds


def say(what: dict[str, Any]) -> None:
    """One line for the program that started this one."""
    print(json.dumps(what), flush=True)


def probe(address: str, port: int) -> None:
    """When the first answer came, for each line of input."""
    say({"connected": ""})
    for _ in sys.stdin:
        end = time.monotonic() + PATIENCE
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((address, port))
            answered = 0.0
            while not answered and time.monotonic() < end:
                try:
                    sock.send(b"?")
                    if select.select([sock], [], [], EVERY)[0] and sock.recv(2048):
                        answered = time.monotonic()
                except OSError:  # not reachable yet
                    time.sleep(EVERY)
            say({"answered": answered})


class Line:
    """A TCP connection to the echo server with a numbered line under way; all is checked."""

    def __init__(self, address: str, port: int) -> None:
        self.sock = socket.create_connection((address, port), timeout=PATIENCE)
        self.server = self.sock.makefile("rb", buffering=0).readline().split()[0].decode()
        self.sock.setblocking(False)
        self.number, self.wanted, self.got = 0, b"", b""
        self.answered = time.monotonic()
        self.longest = (self.answered, self.answered)  # between two answers
        self.error = ""
        self.ask()

    def ask(self) -> None:
        """Send the next line."""
        self.number += 1
        self.wanted, self.got = f"{self.number:0200d}\n".encode(), b""
        self.sock.sendall(self.wanted)

    def read(self) -> None:
        """Take in what is there; a complete and right line is followed by the next."""
        try:
            data = self.sock.recv(4096)
            self.got += data
            if not data or not self.wanted.startswith(self.got):
                raise ValueError("wrong data" if data else "closed by the other side")
            if self.got == self.wanted:
                now = time.monotonic()
                if now - self.answered > self.longest[1] - self.longest[0]:
                    self.longest = (self.answered, now)
                self.answered = now
                self.ask()
        except (OSError, ValueError) as problem:
            self.error = str(problem) or type(problem).__name__


def hold(address: str, port: int, count: int) -> None:
    """Until a line of input: then the longest wait on each connection."""
    lines = [Line(address, port) for _ in range(count)]
    say({"connected": [line.server for line in lines]})
    while True:
        alive = [line.sock for line in lines if not line.error]
        for ready in select.select([sys.stdin, *alive], [], [])[0]:
            if ready is sys.stdin:
                say({"lines": [
                    {"server": line.server, "number": line.number, "longest": line.longest,
                     "answered": line.answered, "error": line.error} for line in lines
                ]})  # fmt: skip
                return
            next(line for line in lines if line.sock is ready).read()
        time.sleep(EVERY)


if __name__ == "__main__":
    kind, where, *numbers = sys.argv[1:]
    (hold if kind == "hold" else probe)(where, *map(int, numbers))
