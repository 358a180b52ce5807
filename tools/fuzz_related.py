"""ICMP errors of both families about packets the worker sent."""

from __future__ import annotations

import random
import struct

from tools.fuzz_frames import HOSTS, MACS, NETS, checksum, ipv4
from tools.fuzz_frames6 import ICMP6, NETS6, ipv6, with_sum

Random = random.Random
ABOUT = (1, 4, 6, 17, 41, 132)  # tunnels as well, whose inner packet's sender is to hear of it


def _complaint6(frame: bytes, port: int, rng: Random) -> bytes:
    size = rng.choice((48, 48, 60, 1232, 1232, rng.randrange(80)))
    kind = rng.choice((1, 2, 2, 3, 4))
    rest = rng.choice((1280, 1400, 0, 40, rng.getrandbits(32)))
    head = struct.pack(">BBHI", kind, rng.randrange(8), 0, rest)
    source = rng.choice((frame[38:54], NETS6[port] + bytes(7) + b"\x63"))
    target = frame[22:38]
    body = with_sum(source, target, ICMP6, head + frame[14 : 14 + size], 2)
    return MACS[port] + HOSTS[port] + b"\x86\xdd" + ipv6(source, target, ICMP6, body)


def complaint(frame: bytes, port: int, rng: Random) -> bytes:
    """An ICMP error that arrives on ``port`` about a frame that left there; the frame if none can
    be about it."""
    if len(frame) >= 62 and frame[12:14] == b"\x86\xdd":
        return _complaint6(frame, port, rng)
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] not in ABOUT:
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
