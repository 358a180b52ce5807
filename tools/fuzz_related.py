"""Frames that refer to others: fragments of a packet, ICMP errors about one the worker sent."""

from __future__ import annotations

import itertools
import random
import struct

from tools.fuzz_frames import HOSTS, MACS, NETS, checksum, ipv4
from tools.fuzz_frames6 import ICMP6, NETS6, ODD6, ipv6, with_sum

Random = random.Random
QUOTED = (4, 6, 17, 41)  # TCP, UDP, and IP of both families in a tunnel


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


def complaint(frame: bytes, port: int, rng: Random) -> bytes:
    """An ICMP error that arrives on ``port`` about a frame that left there; the frame if none can
    be about it."""
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] not in QUOTED:
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


def complaint6(frame: bytes, port: int, rng: Random) -> bytes:
    """The same in IPv6."""
    if len(frame) < 62 or frame[12:14] != b"\x86\xdd" or frame[20] not in QUOTED:
        return frame
    size = rng.choice((48, 68, 88, 1232, 1232, 1232, rng.randrange(120)))
    kind = rng.choice((1, 1, 2, 2, 2, 3, 4))
    code = rng.choice((0, 0, rng.randrange(8)))
    rest = rng.choice((0, 68, 1279, 1280, 1340, 1400, rng.getrandbits(32)))
    body = struct.pack(">BBHI", kind, code, 0, rest) + _quotation(frame[14:], size, rng)
    source = rng.choice((frame[38:54], NETS6[port] + bytes(7) + b"\x63", ODD6[-1]))
    target = frame[22:38]
    body = with_sum(source, target, ICMP6, body, 2)
    return MACS[port] + HOSTS[port] + b"\x86\xdd" + ipv6(source, target, ICMP6, body)


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
