"""ICMP errors of both families about packets the worker sent."""

from __future__ import annotations

import random
import struct

from tools.fuzz_frames import HOSTS, MACS, NETS, checksum, ipv4
from tools.fuzz_frames6 import ICMP6, NETS6, ipv6, with_sum

Random = random.Random
ABOUT = (1, 4, 6, 17, 41, 132)  # tunnels as well, whose inner packet's sender is to hear of it


def in_tunnel(frame: bytes) -> bool:
    """Whether a frame we sent holds IP in IP."""
    return len(frame) > 23 and frame[20 if frame[12:14] == b"\x86\xdd" else 23] in (4, 41)


def _quotation(packet: bytes, size: int, rng: Random) -> bytes:
    """Up to ``size`` bytes of a packet; of what a tunnel has inside, a byte is a lie at times."""
    quoted = bytearray(packet[:size])
    six = quoted[:1] >= b"\x60"
    outer = 40 if six else 20
    if len(quoted) > outer and quoted[6 if six else 9] in (4, 41) and rng.random() < 0.3:
        at = outer + rng.randrange(min(48, len(quoted) - outer))
        quoted[at] = rng.choice((0, 1, 0x44, 0x4F, 0xFF, rng.randrange(256)))
    return bytes(quoted)


def _complaint6(frame: bytes, port: int, rng: Random) -> bytes:
    size = rng.choice((48, 68, 88, 1232, 1232, 1232, rng.randrange(120)))
    kind = rng.choice((1, 1, 2, 2, 2, 3, 4))
    rest = rng.choice((0, 68, 1279, 1280, 1340, 1400, rng.getrandbits(32)))
    code = rng.choice((0, 0, rng.randrange(8)))
    head = struct.pack(">BBHI", kind, code, 0, rest)
    source = rng.choice((frame[38:54], NETS6[port] + bytes(7) + b"\x63"))
    target = frame[22:38]
    body = with_sum(source, target, ICMP6, head + _quotation(frame[14:], size, rng), 2)
    return MACS[port] + HOSTS[port] + b"\x86\xdd" + ipv6(source, target, ICMP6, body)


def complaint(frame: bytes, port: int, rng: Random) -> bytes:
    """An ICMP error that arrives on ``port`` about a frame that left there; the frame if none can
    be about it."""
    if len(frame) >= 62 and frame[12:14] == b"\x86\xdd":
        return _complaint6(frame, port, rng)
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] not in ABOUT:
        return frame
    size = rng.choice((28, 28, 40, 548, 548, rng.randrange(100)))
    kind = rng.choice((3, 3, 3, 4, 11, 12, 5))
    code = rng.choice((0, 4, rng.randrange(16)))
    head = struct.pack(">BBHI", kind, code, 0, rng.getrandbits(16))
    body = head + _quotation(frame[14:], size, rng)
    if rng.random() < 0.05:  # about an error
        body = head + ipv4(NETS[0] + 2, NETS[1] + 11, 1, body, rng)
    body = body[:2] + struct.pack(">H", checksum(body)) + body[4:]
    source = rng.choice((int.from_bytes(frame[30:34], "big"), NETS[port] + 99, 0xCB007109))
    target = int.from_bytes(frame[26:30], "big")
    return MACS[port] + HOSTS[port] + b"\x08\x00" + ipv4(source, target, 1, body, rng)
