"""Bulk data over one TCP connection, there and back; run inside the hosts of a lab.

lab_stream.py serve PORT           the server: takes data, then sends it back
lab_stream.py send HOST PORT MB    the client: sends, then compares what comes back

Each prints a line of JSON for a connection: what it took, how fast, and what TCP went through.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import socket
import struct
import sys
import threading
import time

TCP_INFO = 11
TOA = 254
# Of struct tcp_info (linux/tcp.h), with where they stand: segments sent again, duplicates of ours
# that the other side told of, segments that arrived behind later ones.
FIELDS = {"again": 100, "duplicates": 216, "disordered": 224}
SACK, WINDOW_SCALE = 2, 4


def toa_options(segment: bytes) -> list[bytes]:
    """Options of kind 254 in a TCP segment."""
    at, end, found = 20, (segment[12] >> 4) * 4, []
    while at < end and segment[at] != 0:
        if segment[at] == 1:
            at += 1
            continue
        if segment[at] == TOA:
            found.append(segment[at : at + segment[at + 1]])
        at += max(2, segment[at + 1])
    return found


class Watch(threading.Thread):
    """Reads the options of what arrives for a port over one family, as the network brought it."""

    def __init__(self, family: socket.AddressFamily, port: int, seen: set[bytes]) -> None:
        super().__init__(daemon=True)
        self.family, self.port, self.seen = family, port, seen
        self.socket = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)

    def run(self) -> None:
        while True:
            segment = self.socket.recv(65536)
            if self.family == socket.AF_INET:  # comes with its IP header
                segment = segment[(segment[0] & 15) * 4 :]
            if struct.unpack_from(">H", segment, 2)[0] == self.port:
                self.seen.update(toa_options(segment))


def account(connection: socket.socket, data: bytes | bytearray, began: float) -> dict[str, object]:
    """What both sides report of data that came, and of the connection so far."""
    info = connection.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 232)
    return {
        "bytes": len(data),
        "sha": hashlib.sha256(data).hexdigest(),
        "seconds": time.monotonic() - began,
        "sack": bool(info[5] & SACK),
        "window_scale": bool(info[5] & WINDOW_SCALE),
    } | {name: struct.unpack_from("<I", info, at)[0] for name, at in FIELDS.items()}


def exactly(connection: socket.socket, size: int) -> bytearray:
    """So many bytes, not one of what follows them; less when the other side ends before."""
    data = bytearray(size)
    room, got = memoryview(data), 0
    while got < size and (more := connection.recv_into(room[got:])):
        got += more
    room.release()
    del data[got:]
    return data


def serve(port: int) -> None:
    """Serve connections one after another; a line about each when its client has gone."""
    seen: set[bytes] = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        Watch(family, port, seen).start()
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        connection, peer = listener.accept()
        began = time.monotonic()
        with connection, contextlib.suppress(OSError):
            data = exactly(connection, int.from_bytes(exactly(connection, 8), "big"))
            report = account(connection, data, began)
            connection.sendall(data)
            connection.recv(1)
            report |= {name: account(connection, b"", began)[name] for name in FIELDS}
            report["peer"] = peer[0].removeprefix("::ffff:")
            report["toa"] = sorted(option.hex() for option in seen)
            print(json.dumps(report), flush=True)
        seen.clear()


def send(host: str, port: int, megabytes: int) -> None:
    """Send data that repeats nowhere, take it back; a line about it."""
    data = random.Random(megabytes).randbytes(megabytes << 20)
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(len(data).to_bytes(8, "big") + data)
        connection.recv(1, socket.MSG_PEEK)  # it comes back when all has arrived
        began = time.monotonic()
        back = exactly(connection, len(data))
        report = account(connection, back, began)
        report |= {"same": back == data, "port": connection.getsockname()[1]}
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
