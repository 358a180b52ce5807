"""Frames that refer to others: fragments of a packet, ICMP errors about one the worker sent."""

from __future__ import annotations

import itertools
import random
import struct

from tools.fuzz_frames import HOSTS, MACS, NETS, checksum, ipv4

Random = random.Random


def complaint(frame: bytes, port: int, rng: Random) -> bytes:
    """An ICMP error that arrives on ``port`` about a frame that left there; the frame if none can
    be about it."""
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] not in (6, 17):
        return frame
    size = rng.choice((28, 28, 40, 548, 548, rng.randrange(60)))
    kind = rng.choice((3, 3, 3, 4, 11, 12, 5))
    head = struct.pack(">BBHI", kind, rng.randrange(16), 0, rng.getrandbits(16))
    body = head + frame[14 : 14 + size]
    if rng.random() < 0.05:  # about an error
        body = head + ipv4(NETS[0] + 2, NETS[1] + 11, 1, body, rng)
    body = body[:2] + struct.pack(">H", checksum(body)) + body[4:]
    source = rng.choice((int.from_bytes(frame[30:34], "big"), NETS[port] + 99, 0xCB007109))
    target = int.from_bytes(frame[26:30], "big")
    return MACS[port] + HOSTS[port] + b"\x08\x00" + ipv4(source, target, 1, body, rng)


def _piece(frame: bytes, begin: int, end: int, more: int) -> bytes:
    """Bytes ``begin`` to ``end`` of an IPv4 frame's content as a fragment."""
    size = (frame[14] & 15) * 4
    content = frame[14 + size :][begin:end]
    head = bytearray(frame[14 : 14 + size])
    head[2:4] = struct.pack(">H", size + len(content))
    head[6:8] = struct.pack(">H", more << 13 | begin // 8)
    head[10:12] = b"\0\0"
    head[10:12] = struct.pack(">H", checksum(bytes(head)))
    return frame[:14] + bytes(head) + content


def pieces(frame: bytes, rng: Random) -> list[bytes]:
    """Fragments of a frame's packet: mostly all of them, mostly without overlap, in any order."""
    if len(frame) < 80 or frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4:
        return [frame]
    size = (frame[14] & 15) * 4
    content = len(frame) - 14 - size
    if size < 20 or content < 24:
        return [frame]
    blocks = range(1, (content - 1) // 8 + 1)
    cuts = sorted(rng.sample(blocks, min(len(blocks), rng.choice((1, 1, 2, 3, 8)))))
    places = [0, *(8 * block for block in cuts), content]
    made = [
        _piece(frame, begin, end, int(end < content)) for begin, end in itertools.pairwise(places)
    ]
    whim = rng.random()
    if whim < 0.1:
        made.append(rng.choice(made))
    elif whim < 0.2:
        made.remove(rng.choice(made))
    elif whim < 0.3:
        begin = 8 * rng.randrange(content // 8)
        made.append(_piece(frame, begin, begin + 8 * rng.randrange(1, 20), rng.randrange(2)))
    if rng.random() < 0.5:
        rng.shuffle(made)
    return made
