"""IPv4 fragments made and put together again, apart from the code under test."""

from __future__ import annotations

import itertools
import struct

from scapy.utils import checksum


def packet_of(frame):
    """The IP packet in a frame, without link padding."""
    raw = bytes(frame)[14:]
    return raw[: int.from_bytes(raw[2:4], "big")]


def headed(header, content, frag):
    """``content`` under an IP header with that fragment word; length and checksum right."""
    raw = bytearray(header)
    raw[2:4] = struct.pack("!H", len(header) + len(content))
    raw[6:8] = struct.pack("!H", frag)
    raw[10:12] = b"\0\0"
    raw[10:12] = struct.pack("!H", checksum(bytes(raw)))
    return bytes(raw) + content


def later_header(header):
    """The header of fragments behind the first: options with the copied flag only (RFC 791)."""
    fixed, options, kept = header[:20], header[20:], b""
    while options and options[0]:
        length = 1 if options[0] == 1 else options[1]
        kept += options[:length] if options[0] & 0x80 else b""
        options = options[length:]
    kept += bytes(-len(kept) % 4)
    return bytes([0x40 | (20 + len(kept)) // 4]) + fixed[1:] + kept


def cut(frame, at):
    """Frames with the fragments of the packet in ``frame``, cut at these offsets (in 8 bytes)."""
    ether, packet = bytes(frame)[:14], packet_of(frame)
    size = (packet[0] & 15) * 4
    header, content = packet[:size], packet[size:]
    keep = int.from_bytes(packet[6:8], "big") & 0x4000
    places = [0, *(8 * a for a in sorted(at)), len(content)]
    made = []
    for begin, end in itertools.pairwise(places):
        more = 0x2000 if end < len(content) else 0
        head = header if begin == 0 else later_header(header)
        made.append(ether + headed(head, content[begin:end], keep | more | begin // 8))
    return made


def joined(frames):
    """The frame whose fragments these are, in any order; asserts that they belong together."""
    parts = sorted((int.from_bytes(f[20:22], "big") & 0x1FFF, f) for f in frames)
    whole = b""
    first = packet_of(parts[0][1])
    header = first[: (first[0] & 15) * 4]
    for place, frame in parts:
        packet = packet_of(frame)
        size = (packet[0] & 15) * 4
        assert checksum(packet[:size]) == 0 and len(frame) == 14 + len(packet)
        assert frame[:14] == parts[0][1][:14]
        if place:
            wanted = later_header(header)
            for field in (slice(0, 2), slice(4, 6), slice(8, 10), slice(12, size)):
                assert packet[field] == wanted[field]
        assert place * 8 == len(whole)
        more = int.from_bytes(packet[6:8], "big") & 0x2000
        assert bool(more) == (frame is not parts[-1][1])
        whole += packet[size:]
    keep = int.from_bytes(first[6:8], "big") & 0x4000
    return parts[0][1][:14] + headed(header, whole, keep)
