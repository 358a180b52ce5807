"""SCTP packets and their checksum, made bit by bit and apart from the code under test."""

from __future__ import annotations

import functools
import struct

INIT, DATA = 1, 0


@functools.cache
def _steps():
    """What each value of the low byte of a CRC32c state becomes (RFC 3309, reflected)."""
    made = []
    for state in range(256):
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
        made.append(state)
    return made


def crc32c(data):
    """CRC32c of bytes."""
    steps, state = _steps(), 0xFFFFFFFF
    for byte in data:
        state = (state >> 8) ^ steps[(state ^ byte) & 255]
    return state ^ 0xFFFFFFFF


def checked(packet):
    """The packet with the right checksum, which goes low byte first (RFC 9260 appendix A)."""
    packet = packet[:8] + bytes(4) + packet[12:]
    return packet[:8] + struct.pack("<I", crc32c(packet)) + packet[12:]


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
