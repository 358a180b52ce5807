"""Valid IPv6 frames of every kind the balancer meets, and answers to what it sends."""

from __future__ import annotations

import ipaddress
import random
import struct

from tools.fuzz_frames import HOSTS, MACS, checksum, reply_flags
from tools.fuzz_said import said, sctp
from tools.fuzz_services import PORTS

Random = random.Random


def _raw(text: str) -> bytes:
    return ipaddress.IPv6Address(text).packed


NETS6 = (_raw("2001:db8:18::")[:8], _raw("2001:db8:19::")[:8])  # /64 of port 0 and 1
VIP6 = _raw("2001:db8:100::100")
OURS6 = (VIP6, NETS6[0] + bytes(7) + b"\1", NETS6[1] + bytes(7) + b"\1", _raw("2001:db8:18::100"))
LINK = tuple(_raw("fe80::")[:8] + mac[:3] + b"\xff\xfe" + mac[3:] for mac in (*MACS, *HOSTS))
ODD6 = tuple(map(_raw, ("::", "::1", "ff02::2", "ff01::1", "::ffff:192.0.2.1", "2001:db8:9::9")))
TCP, UDP, ICMP6, SCTP = 6, 17, 58, 132
SUM_AT = {TCP: 16, UDP: 6, ICMP6: 2}  # offset of the checksum
EXTENSIONS = (0, 43, 44, 51, 60)


def ipv6(src: bytes, dst: bytes, proto: int, body: bytes, hops: int = 64) -> bytes:
    """A complete IPv6 packet."""
    return struct.pack(">IHBB", 6 << 28, len(body), proto, hops) + src + dst + body


def with_sum(src: bytes, dst: bytes, proto: int, body: bytes, at: int) -> bytes:
    """``body`` with its checksum at offset ``at`` right (RFC 8200 8.1)."""
    body = body[:at] + b"\0\0" + body[at + 2 :]
    value = checksum(src + dst + struct.pack(">II", len(body), proto) + body)
    return body[:at] + struct.pack(">H", value or 0xFFFF) + body[at + 2 :]


def host6(port: int, rng: Random) -> bytes:
    """A host on the network of ``port``."""
    if rng.random() < 0.1:
        return LINK[2 + port]
    return NETS6[port] + bytes(7) + bytes([rng.choice((2, 2, 3, 11, 12, rng.randrange(256)))])


def message(src: bytes, dst: bytes, kind: int, rest: bytes) -> bytes:
    """An ICMPv6 message of a type, code 0."""
    return with_sum(src, dst, ICMP6, bytes([kind, 0, 0, 0]) + rest, 2)


def _extended(proto: int, body: bytes, rng: Random) -> tuple[int, bytes]:
    """The packet's content behind one to three extension headers."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.choice(EXTENSIONS)
        rest = {0: b"\5\2\0\0\1\0", 60: b"\1\4\0\0\0\0", 43: bytes(6), 51: bytes(6)}.get(
            kind, rng.choice((b"\0\1", b"\0\0", b"\1\0", rng.randbytes(2))) + rng.randbytes(4)
        )
        body, proto = bytes([proto, 0]) + rest + body, kind
    return proto, body


def _far(port: int, rng: Random) -> bytes:
    """Where packets go: a service, or from inside out."""
    if rng.random() < 0.25:
        return rng.choice((*OURS6, LINK[port], host6(1 - port, rng), *ODD6))
    if port == 1 and rng.random() < 0.5:
        return rng.choice((host6(0, rng), ODD6[-1]))
    return VIP6


def _transport(port: int, rng: Random) -> tuple[bytes, bytes, int, bytes]:
    src, dst = host6(port, rng), _far(port, rng)
    proto = rng.choice(("tcp", "tcp", "udp", "udp", "sctp"))
    sport, dport = rng.randrange(1024, 1200), rng.choice(PORTS[proto, 6])
    if proto == "sctp":
        return src, dst, SCTP, sctp(sport, dport, rng)
    ports, data = struct.pack(">HH", sport, dport), said(dport, rng)
    if proto == "tcp":
        flags = rng.choice((2, 2, 2, 16, 24, 17, 4))
        head = ports + rng.randbytes(8) + bytes([0x50, flags, 0x20, 0, 0, 0, 0, 0])
        return src, dst, TCP, with_sum(src, dst, TCP, head + data, 16)
    head = ports + struct.pack(">HH", 8 + len(data), 0)
    return src, dst, UDP, with_sum(src, dst, UDP, head + data, 6)


def _icmp(port: int, rng: Random) -> tuple[bytes, bytes, int, bytes]:
    src, dst = host6(port, rng), _far(port, rng)
    kind = rng.choice((128, 128, 128, 129, 1, 2, 3, 4, 130, 133, 137))
    rest = rng.randbytes(4 + rng.choice((0, 1, 8, 64, 200, 1200)))
    return src, dst, ICMP6, message(src, dst, kind, rest)


def fresh6(port: int, rng: Random) -> bytes:
    """A valid IPv6 frame that arrives on ``port``, but for those of tools/fuzz_nd.py."""
    src, dst, proto, body = (_icmp if rng.random() < 0.2 else _transport)(port, rng)
    if rng.random() < 0.2:
        proto, body = _extended(proto, body, rng)
    mac = b"\x33\x33" + dst[12:] if dst[0] == 0xFF else MACS[port]
    packet = ipv6(src, dst, proto, body, rng.choice((64, 64, 255, 1, 2)))
    return mac + HOSTS[port] + b"\x86\xdd" + packet


def answer6(frame: bytes, port: int, rng: Random) -> bytes:
    """The other end's answer to an IPv6 frame we sent out of ``port``; the frame if it has none."""
    proto = frame[20]
    if len(frame) < 78 or proto not in (TCP, UDP, SCTP, ICMP6):
        return frame
    src, dst = frame[22:38], frame[38:54]
    if proto == ICMP6:
        if frame[54] == 128:
            return _back(frame, port, ipv6(dst, src, ICMP6, message(dst, src, 129, frame[58:])))
        if frame[54] != 135:
            return frame
        target = frame[62:78]
        body = message(target, src, 136, b"\x60\0\0\0" + target + bytes([2, 1]) + HOSTS[port])
        packet = ipv6(target, src, ICMP6, body, 255)
        return MACS[port] + HOSTS[port] + b"\x86\xdd" + packet
    sport, dport = struct.unpack(">HH", frame[54:58])
    if proto == SCTP:
        return _back(frame, port, ipv6(dst, src, SCTP, sctp(dport, sport, rng)))
    segment = bytearray(frame[56:58] + frame[54:56] + frame[58:])
    if proto == TCP:
        flags = reply_flags(segment[13], rng)
        segment = segment[:12] + bytes([0x50, flags]) + segment[14:20] + said(sport, rng)
    fixed = with_sum(dst, src, proto, bytes(segment), SUM_AT[proto])
    return _back(frame, port, ipv6(dst, src, proto, fixed))


def _back(frame: bytes, port: int, packet: bytes) -> bytes:
    return MACS[port] + frame[0:6] + b"\x86\xdd" + packet
