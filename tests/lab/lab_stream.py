"""Bulk data over one TCP connection, and a bad link for it; run inside the hosts of a lab.

lab_stream.py serve PORT            the server: takes data, sends it back, tells what it saw
lab_stream.py send HOST PORT MB     the client: sends, compares what comes back
lab_stream.py relay A B LOSS        joins two interfaces; loses and delays LOSS frames in 10000
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import select
import socket
import struct
import sys
import threading
import time

BLOCK = 1 << 16
TCP_INFO = 11
KIND = 254


def blocks(size: int) -> bytes:
    """Data that repeats nowhere within a window."""
    return random.Random(size).randbytes(size)


def told(segment: bytes) -> list[bytes]:
    """Options of kind 254 in a TCP segment with its IPv4 header."""
    at = (segment[0] & 15) * 4
    end, found = at + (segment[at + 12] >> 4) * 4, []
    at += 20
    while at < end and segment[at] != 0:
        if segment[at] == 1:
            at += 1
            continue
        if segment[at] == KIND:
            found.append(segment[at : at + segment[at + 1]])
        at += max(2, segment[at + 1])
    return found


class Watch(threading.Thread):
    """Reads the options of what arrives for a port, as the network brought it."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.seen: set[bytes] = set()
        self.blocks = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)

    def run(self) -> None:
        while True:
            segment = self.socket.recv(65536)
            at = (segment[0] & 15) * 4
            if struct.unpack_from(">H", segment, at + 2)[0] == self.port:
                self.seen.update(told(segment))
                self.blocks += b"\x05\x0a" in segment[at + 20 : at + (segment[at + 12] >> 4) * 4]


def info(connection: socket.socket) -> dict[str, int]:
    """Options the kernel agreed on, and how often it had to send again."""
    raw = connection.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 192)
    return {"options": raw[5], "again": struct.unpack_from("<I", raw, 100)[0]}


def exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or what came before the end."""
    data = bytearray()
    while len(data) < size and (part := connection.recv(min(BLOCK, size - len(data)))):
        data += part
    return bytes(data)


def serve(port: int) -> None:
    """Serve connections one after another; a line of JSON about each."""
    watch = Watch(port)
    watch.start()
    listener = socket.create_server(("", port))
    while True:
        connection, peer = listener.accept()
        with connection, contextlib.suppress(OSError):
            size = int.from_bytes(exactly(connection, 8), "big")
            data = exactly(connection, size)
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
            report = {
                "peer": peer[0], "bytes": len(data), "sha": hashlib.sha256(data).hexdigest(),
                "toa": sorted(option.hex() for option in watch.seen), "sack": watch.blocks,
            }  # fmt: skip
            print(json.dumps(report | info(connection)), flush=True)
        watch.seen.clear()


def send(host: str, port: int, megabytes: int) -> None:
    """Send data and take it back at the same time; a line of JSON."""
    data = blocks(megabytes << 20)
    began = time.monotonic()
    with socket.create_connection((host, port), timeout=60) as connection:
        sender = threading.Thread(
            target=lambda: connection.sendall(len(data).to_bytes(8, "big") + data), daemon=True
        )
        sender.start()
        back = exactly(connection, len(data))
        sender.join()
        report = info(connection) | {
            "port": connection.getsockname()[1], "same": back == data,
            "sha": hashlib.sha256(data).hexdigest(), "seconds": time.monotonic() - began,
        }  # fmt: skip
    print(json.dumps(report), flush=True)


def relay(left: str, right: str, loss: int) -> None:
    """Carry frames both ways; of 10000, lose ``loss`` and let ``loss`` others arrive late."""
    ends = []
    for name in (left, right):
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        end.bind((name, 0))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        ends.append(end)
    choose = random.Random(4).randrange
    late: list[tuple[float, socket.socket, bytes]] = []
    while True:
        ready, _, _ = select.select(ends, [], [], 0.002 if late else 1)
        for end in ready:
            other = ends[end is ends[0]]
            for _ in range(32):
                try:
                    frame, where = end.recvfrom(65536, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                if where[2] == socket.PACKET_OUTGOING:
                    continue
                chance = choose(10000)
                if chance < loss:
                    continue
                if chance < 2 * loss:
                    late.append((time.monotonic() + 0.004, other, frame))
                    continue
                with contextlib.suppress(OSError):
                    other.send(frame)
        while late and late[0][0] <= time.monotonic():
            _, other, frame = late.pop(0)
            with contextlib.suppress(OSError):
                other.send(frame)


if __name__ == "__main__":
    job, *words = sys.argv[1:]
    if job == "serve":
        serve(int(words[0]))
    elif job == "send":
        send(words[0], int(words[1]), int(words[2]))
    else:
        relay(words[0], words[1], int(words[2]))
