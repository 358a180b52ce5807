"""A link that loses some frames and delays others, for kernels without netem.

lab_bad_link.py A B LOST LATE    joins two interfaces; of 10000 frames it loses LOST, and delays
                                 LATE others by DELAY seconds, so that they arrive out of order
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import sys
import time
from collections import deque

DELAY = 0.004
BATCH = 32
ROOM = 16 << 20  # bytes of receive buffer: what is lost is to be lost by intent
SO_RCVBUFFORCE = 33
ALL_PROTOCOLS = 3  # linux/if_ether.h


def opened(name: str) -> socket.socket:
    """All frames of an interface."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    end.bind((name, 0))
    end.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
    return end


def pending(end: socket.socket) -> list[bytes]:
    """Frames that wait, a batch at most; not those that were sent here."""
    frames = []
    with contextlib.suppress(BlockingIOError):
        for _ in range(BATCH):
            frame, where = end.recvfrom(65536, socket.MSG_DONTWAIT)
            if where[2] != socket.PACKET_OUTGOING:
                frames.append(frame)
    return frames


def carry(ends: list[socket.socket], lost: int, late: int) -> None:
    """Carry frames both ways for ever."""
    chance = random.Random(4).randrange
    waiting: deque[tuple[float, socket.socket, bytes]] = deque()
    while True:
        ready, _, _ = select.select(ends, [], [], DELAY / 2 if waiting else 1)
        for end in ready:
            other = ends[end is ends[0]]
            for frame in pending(end):
                fate = chance(10000)
                if fate < lost:
                    continue
                if fate < lost + late:
                    waiting.append((time.monotonic() + DELAY, other, frame))
                    continue
                with contextlib.suppress(OSError):
                    other.send(frame)
        while waiting and waiting[0][0] <= time.monotonic():
            _, other, frame = waiting.popleft()
            with contextlib.suppress(OSError):
                other.send(frame)


if __name__ == "__main__":
    both = [opened(name) for name in sys.argv[1:3]]
    print("joined", flush=True)
    carry(both, int(sys.argv[3]), int(sys.argv[4]))
