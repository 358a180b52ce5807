"""SCTP packets and their checksum, made apart from the code under test."""

from __future__ import annotations

import struct

from tools.crc32c import checked as checked
from tools.crc32c import crc32c as crc32c

INIT, DATA = 1, 0


def is_right(packet):
    """Whether a packet's checksum is."""
    return checked(packet) == packet


def chunk(kind, content=b"", flags=3):
    """A chunk, padded to four bytes."""
    size = 4 + len(content)
    return struct.pack("!BBH", kind, flags, size) + content + bytes(-size % 4)


def data(size, tsn=7):
    """A DATA chunk with ``size`` bytes of user data."""
    content = bytes(i * 7 + (i >> 8) & 255 for i in range(size))
    return chunk(DATA, struct.pack("!IHHI", tsn, 0, 0, 0) + content)


def packet(sport, dport, *chunks, tag=99):
    """A packet of these chunks."""
    return checked(struct.pack("!HHII", sport, dport, tag, 0) + b"".join(chunks))


def moved(frame, at, sport, dport):
    """A frame whose SCTP packet, ``at`` bytes behind its begin, gets other ports and the checksum
    anew."""
    return frame[:at] + checked(struct.pack("!HH", sport, dport) + frame[at + 4 :])
