"""IPv6 fragments made and put together again, apart from the code under test."""

from __future__ import annotations

import itertools
import struct

FRAGMENT = 44
BEFORE = {0, 43, 60}  # extension headers that may stand before a fragment header


def packet_of(frame):
    """The IP packet in a frame, without link padding."""
    raw = bytes(frame)[14:]
    return raw[: 40 + int.from_bytes(raw[4:6], "big")]


def front_of(packet, count):
    """Bytes of the fixed header and ``count`` extension headers, and where the last names what
    follows."""
    named, end = 6, 40
    for _ in range(count):
        named, end = end, end + (packet[end + 1] + 1) * 8
    return named, end


def with_payload(packet):
    """The packet with the right payload length."""
    return packet[:4] + struct.pack("!H", len(packet) - 40) + packet[6:]


def fragment(frame, before, begin, content, more, ident):
    """A frame with ``content`` as the bytes from ``begin`` on of what is fragmented."""
    ether, packet = bytes(frame)[:14], bytearray(packet_of(frame))
    named, end = front_of(packet, before)
    kind, packet[named] = packet[named], FRAGMENT
    header = struct.pack("!BBHI", kind, 0, begin | more, ident)
    return ether + with_payload(bytes(packet[:end]) + header + content)


def cut6(frame, at, ident, before=0):
    """Frames with the fragments of the packet in ``frame``, cut at these offsets (in 8 bytes);
    ``before`` extension headers stand in every one."""
    packet = packet_of(frame)
    content = packet[front_of(packet, before)[1] :]
    places = [0, *(8 * a for a in sorted(at)), len(content)]
    return [
        fragment(frame, before, begin, content[begin:end], int(end < len(content)), ident)
        for begin, end in itertools.pairwise(places)
    ]


def parts_of(frames):
    """(offset, more, frame, bytes in front, content, identification) of each, by offset."""
    made = []
    for frame in frames:
        packet = packet_of(frame)
        assert len(frame) == 14 + len(packet)
        before = 0
        while packet[front_of(packet, before)[0]] != FRAGMENT:
            assert packet[front_of(packet, before)[0]] in BEFORE
            before += 1
        named, end = front_of(packet, before)
        kind, reserved, place, ident = struct.unpack_from("!BBHI", packet, end)
        assert reserved == 0 and place & 6 == 0
        front = bytearray(packet[:end])
        front[named] = kind
        front[4:6] = b"\0\0"
        made.append((place & ~7, place & 1, frame, bytes(front), packet[end + 8 :], ident))
    return sorted(made)


def joined6(frames, ident=None):
    """The frame whose fragments these are, in any order; asserts that they belong together."""
    parts = parts_of(frames)
    whole = b""
    _, _, first, front, _, wanted = parts[0]
    for place, more, frame, head, content, number in parts:
        assert (frame[:14], head, number) == (first[:14], front, wanted)
        assert place == len(whole) and bool(more) == (frame is not parts[-1][2])
        assert not more or len(content) % 8 == 0
        whole += content
    assert ident is None or ident == wanted
    return first[:14] + with_payload(front + whole)
