"""What the fuzzer's packets say: SCTP chunks, QUIC connection ids, PROXY headers, or nothing."""

from __future__ import annotations

import random
import struct

from tools.crc32c import checked

Random = random.Random
CHUNKS = (1, 1, 1, 0, 0, 2, 3, 4, 6, 7, 8, 9, 10, 10, 11, 14)  # RFC 9260 3.2, INIT most of all
COOKIE_ECHO, ABORT = 10, 6
PROXY1 = (b"PROXY TCP4 203.0.113.5 192.0.2.1 5 6\r\n", b"PROXY UNKNOWN\r\n", b"PROXY TCP6 ::1 ")
PROXY2 = b"\r\n\r\n\0\r\nQUIT\n"


def _chunk(rng: Random) -> bytes:
    """A chunk; one in eight lies about its length."""
    content = rng.randbytes(rng.choice((0, 4, 16, 20, 100, 300, 440)))
    size = 4 + len(content)
    if rng.random() < 0.12:
        size = rng.choice((0, 3, size + 1, size + 8, 0xFFFF, rng.getrandbits(16)))
    return struct.pack(">BBH", rng.choice(CHUNKS), 3, size) + content


def sctp(sport: int, dport: int, rng: Random) -> bytes:
    """An SCTP packet with a right checksum (one in sixteen with a wrong one): one to three chunks,
    rarely none or half a one."""
    body = b"".join(_chunk(rng) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    if rng.random() < 0.1:
        body = struct.pack(">BBHIBBH", COOKIE_ECHO, 0, 8, 1, ABORT, 0, 4)
    if rng.random() < 0.05:
        body = body[: rng.randrange(5)]
    packet = checked(struct.pack(">HHII", sport, dport, rng.getrandbits(32), 0) + body)
    return packet if rng.random() < 0.94 else packet[:8] + rng.randbytes(4) + packet[12:]


def _quic(rng: Random) -> bytes:
    """A QUIC packet whose connection id names a server by its address, by its QUIC-LB id, or
    nobody."""
    server = rng.randrange(4)
    name = rng.choice(
        (
            bytes([rng.randrange(256), (11 + server) >> 4, (11 + server) << 4 & 255]),
            bytes([1 << 5, server, server, server]),
            rng.randbytes(4),
        )
    )
    id_ = name + rng.randbytes(rng.choice((0, 4, 8)))
    if rng.random() < 0.5:
        return bytes([rng.choice((0x40, 0x41, 0x40, 0))]) + id_ + rng.randbytes(8)
    first = bytes([rng.choice((0xC0, 0xD0, 0xE0, 0xF0))])
    version = rng.choice((1, 1, 0x6B3343CF, 0)).to_bytes(4, "big")
    size = rng.choice((len(id_), len(id_), 20, 21, 255))
    return first + version + bytes([size]) + id_ + rng.randbytes(20)


def _proxy(rng: Random) -> bytes:
    """A PROXY header as a client may send one, sometimes cut off."""
    if rng.random() < 0.5:
        header = rng.choice(PROXY1)
    else:
        size = rng.choice((12, 12, 36, 0, 0xFFFF))
        form = bytes([rng.choice((0x21, 0x20, 0x11)), rng.choice((0x11, 0x12, 0x21, 0x22, 0))])
        header = PROXY2 + form + struct.pack(">H", size) + rng.randbytes(min(size, 36))
    return header[: rng.randrange(len(header))] if rng.random() < 0.3 else header + b"GET /"


def said(dport: int, rng: Random) -> bytes:
    """Payload of a TCP segment or datagram to a port."""
    if dport in (443, 444):
        return _quic(rng)
    if rng.random() < (0.5 if dport in (55, 86, 87) else 0.02):
        return _proxy(rng)
    return rng.randbytes(rng.choice((0, 1, 7, 64, 200, 1200, 1400)))
