"""CRC32c, the checksum of SCTP (RFC 9260 appendix A), in plain Python: for packets of tests."""

from __future__ import annotations

from collections.abc import Iterator

POLYNOMIAL = 0x82F63B78  # reflected


def _steps() -> Iterator[int]:
    """What each value of the low byte of the state becomes."""
    for state in range(256):
        for _ in range(8):
            state = (state >> 1) ^ (POLYNOMIAL if state & 1 else 0)
        yield state


STEPS = tuple(_steps())


def crc32c(data: bytes) -> int:
    """The checksum of bytes; on the wire it goes low byte first."""
    state = 0xFFFFFFFF
    for byte in data:
        state = (state >> 8) ^ STEPS[(state ^ byte) & 255]
    return state ^ 0xFFFFFFFF


def checked(packet: bytes) -> bytes:
    """An SCTP packet (12 bytes at least) with the right checksum."""
    packet = packet[:8] + bytes(4) + packet[12:]
    return packet[:8] + crc32c(packet).to_bytes(4, "little") + packet[12:]
