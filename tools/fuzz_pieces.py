"""Fragments of the fuzzer's packets, of both families: whole sets of them, and such that lie."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable

from tools.fuzz_frames import checksum

Random = random.Random
Cut = Callable[[int, int, int], bytes]  # a fragment with the content from .. to, and its "more"
FRAGMENT = 44
LAST_PLACE = 65528  # the last offset there is


def _cut4(frame: bytes) -> tuple[int, Cut]:
    """Bytes that an IPv4 frame's packet can be cut into, and how."""
    size = (frame[14] & 15) * 4
    content = frame[14 + size :]

    def cut(begin: int, end: int, more: int) -> bytes:
        head = bytearray(frame[14 : 14 + size])
        head[2:4] = struct.pack(">H", size + len(content[begin:end]))
        head[6:8] = struct.pack(">H", more << 13 | begin // 8)
        head[10:12] = b"\0\0"
        head[10:12] = struct.pack(">H", checksum(bytes(head)))
        return frame[:14] + bytes(head) + content[begin:end]

    return len(content), cut


def _cut6(frame: bytes, number: bytes) -> tuple[int, Cut]:
    """The same of IPv6; all behind the fixed header is cut."""
    content = frame[54:]

    def cut(begin: int, end: int, more: int) -> bytes:
        part = content[begin:end]
        head = frame[14:18] + struct.pack(">HB", 8 + len(part), FRAGMENT) + frame[21:54]
        place = struct.pack(">BBH", frame[20], 0, begin | more)
        return frame[:14] + head + place + number + part

    return len(content), cut


def _moved(frame: bytes, place: int) -> bytes:
    """A fragment that claims another place (its offset, a multiple of 8)."""
    if frame[12:14] == b"\x86\xdd":
        return frame[:56] + struct.pack(">H", place | frame[57] & 1) + frame[58:]
    head = bytearray(frame[14 : 14 + (frame[14] & 15) * 4])
    head[6:8] = struct.pack(">H", head[6] << 8 & 0x2000 | place // 8)
    head[10:12] = b"\0\0"
    head[10:12] = struct.pack(">H", checksum(bytes(head)))
    return frame[:14] + bytes(head) + frame[14 + len(head) :]


def _lie(made: list[bytes], cut: Cut, content: int, rng: Random) -> None:
    """Something is wrong with the fragments ``made`` of ``content`` bytes."""
    begin = 8 * rng.randrange(content // 8)
    kind = rng.randrange(6)
    if kind == 0:  # one twice
        made.append(rng.choice(made))
    elif kind == 1:  # one missing
        made.remove(rng.choice(made))
    elif kind == 2:  # one more, which overlaps others
        made.append(cut(begin, begin + 8 * rng.randrange(1, 20), rng.randrange(2)))
    elif kind == 3:  # a second end, before or behind the true one
        made.append(_moved(made[-1], rng.choice((begin, content & ~7, LAST_PLACE))))
    elif kind == 4:  # of odd length in the middle
        made.insert(0, cut(begin, begin + rng.randrange(1, 8), 1))
    else:  # at the far end of what a datagram can be
        made[-1] = _moved(made[-1], rng.choice((LAST_PLACE, LAST_PLACE - 8)))


def pieces(frame: bytes, rng: Random) -> list[bytes]:
    """Fragments of a frame's packet: mostly all of them, mostly right, in any order."""
    if len(frame) < 80:
        return [frame]
    if frame[12:14] == b"\x86\xdd" and frame[14] >> 4 == 6:
        content, cut = _cut6(frame, rng.randbytes(4))
    elif frame[12:14] == b"\x08\x00" and frame[14] >> 4 == 4 and frame[14] & 15 >= 5:
        content, cut = _cut4(frame)
    else:
        return [frame]
    if content < 24:
        return [frame]
    blocks = range(1, (content - 1) // 8 + 1)
    cuts = sorted(rng.sample(blocks, min(len(blocks), rng.choice((1, 1, 2, 3, 8)))))
    places = [0, *(8 * block for block in cuts), content]
    made = [cut(begin, end, int(end < content)) for begin, end in itertools.pairwise(places)]
    if rng.random() < 0.35:
        _lie(made, cut, content, rng)
    if rng.random() < 0.5:
        rng.shuffle(made)
    return made
