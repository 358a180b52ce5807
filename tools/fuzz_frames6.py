"""Valid IPv6 frames of every kind the balancer meets, and answers to what it sends."""

from __future__ import annotations

import ipaddress
import random
import struct

from tools.fuzz_frames import HOSTS, MACS, SERVICE_PORTS, checksum

Random = random.Random


def _raw(text: str) -> bytes:
    return ipaddress.IPv6Address(text).packed


NETS6 = (_raw("2001:db8:18::")[:8], _raw("2001:db8:19::")[:8])  # /64 of port 0 and 1
VIP6 = _raw("2001:db8:100::100")
OURS6 = (VIP6, NETS6[0] + bytes(7) + b"\1", NETS6[1] + bytes(7) + b"\1")
LINK = tuple(_raw("fe80::")[:8] + mac[:3] + b"\xff\xfe" + mac[3:] for mac in (*MACS, *HOSTS))
ALL_NODES = _raw("ff02::1")
ODD6 = tuple(map(_raw, ("::", "::1", "ff02::2", "ff01::1", "::ffff:192.0.2.1", "2001:db8:9::9")))
TCP, UDP, ICMP6 = 6, 17, 58
TUNNEL_TCP, TUNNEL_UDP = 88, 56  # services of VIP6, see tools/fuzz_setup.py
EXTENSIONS = (0, 43, 44, 51, 60)


def ipv6(src: bytes, dst: bytes, proto: int, body: bytes, hops: int = 64) -> bytes:
    """A complete IPv6 packet."""
    return struct.pack(">IHBB", 6 << 28, len(body), proto, hops) + src + dst + body


def with_sum(src: bytes, dst: bytes, proto: int, body: bytes, at: int) -> bytes:
    """``body`` with its checksum at offset ``at`` right (RFC 8200 8.1)."""
    body = body[:at] + b"\0\0" + body[at + 2 :]
    value = checksum(src + dst + struct.pack(">II", len(body), proto) + body)
    return body[:at] + struct.pack(">H", value or 0xFFFF) + body[at + 2 :]


def _host(port: int, rng: Random) -> bytes:
    if rng.random() < 0.1:
        return LINK[2 + port]
    return NETS6[port] + bytes(7) + bytes([rng.choice((2, 2, 3, 11, 12, rng.randrange(256)))])


def group_of(target: bytes) -> bytes:
    """Solicited-node group of an address."""
    return _raw("ff02::1:ff00:0")[:13] + target[13:]


def group_mac(group: bytes) -> bytes:
    """MAC address of a group."""
    return b"\x33\x33" + group[12:]


def _message(src: bytes, dst: bytes, kind: int, rest: bytes) -> bytes:
    return with_sum(src, dst, ICMP6, bytes([kind, 0, 0, 0]) + rest, 2)


def _discovery(port: int, rng: Random) -> tuple[bytes, bytes]:
    """(destination MAC, packet) of a solicitation, probe or advertisement."""
    src, target = _host(port, rng), rng.choice((*OURS6, LINK[port]))
    option = bytes([1, 1]) + HOSTS[port]
    if rng.random() < 0.5:
        dst = group_of(target)
        if rng.random() < 0.15:
            src, option = bytes(16), b""
        body = _message(src, dst, 135, bytes(4) + target + option)
        return group_mac(dst), ipv6(src, dst, ICMP6, body, 255)
    flags = bytes([rng.choice((0x60, 0x40, 0x20, 0)), 0, 0, 0])
    subject = rng.choice((src, src, target))
    dst = ALL_NODES if flags[0] & 0x40 == 0 else OURS6[1 + port]
    body = _message(src, dst, 136, flags + subject + bytes([2, 1]) + HOSTS[port])
    return group_mac(dst) if dst == ALL_NODES else MACS[port], ipv6(src, dst, ICMP6, body, 255)


def _extended(proto: int, body: bytes, rng: Random) -> tuple[int, bytes]:
    """The packet's content behind one to three extension headers."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.choice(EXTENSIONS)
        rest = {0: b"\5\2\0\0\1\0", 60: b"\1\4\0\0\0\0", 43: bytes(6), 51: bytes(6)}.get(
            kind, rng.choice((b"\0\1", b"\0\0", b"\1\0", rng.randbytes(2))) + rng.randbytes(4)
        )
        body, proto = bytes([proto, 0]) + rest + body, kind
    return proto, body


def _ports(service: int, rng: Random) -> bytes:
    """A client's port and mostly that of the IPv6 service."""
    port = service if rng.random() < 0.75 else rng.choice(SERVICE_PORTS)
    return struct.pack(">HH", rng.randrange(1024, 1200), port)


def fresh6(port: int, rng: Random) -> bytes:
    """A valid IPv6 frame that arrives on ``port``."""
    choice = rng.random()
    if choice < 0.3:
        mac, packet = _discovery(port, rng)
        return mac + HOSTS[port] + b"\x86\xdd" + packet
    src = _host(port, rng)
    dst = rng.choice((*[VIP6] * 12, *OURS6, LINK[port], _host(1 - port, rng), *ODD6))
    data = rng.randbytes(rng.choice((0, 1, 8, 64, 200, 1200)))
    if choice < 0.5:
        kind = rng.choice((128, 128, 128, 129, 1, 2, 3, 4, 130, 133, 137))
        proto, body = ICMP6, _message(src, dst, kind, rng.randbytes(4) + data)
    elif choice < 0.8:
        ports = _ports(TUNNEL_TCP, rng)
        flags = rng.choice((2, 2, 2, 16, 24, 17, 4))
        head = ports + rng.randbytes(8) + bytes([0x50, flags, 0x20, 0, 0, 0, 0, 0])
        proto, body = TCP, with_sum(src, dst, TCP, head + data, 16)
    else:
        ports = _ports(TUNNEL_UDP, rng)
        head = ports + struct.pack(">HH", 8 + len(data), 0)
        proto, body = UDP, with_sum(src, dst, UDP, head + data, 6)
    if rng.random() < 0.2:
        proto, body = _extended(proto, body, rng)
    mac = group_mac(dst) if dst[0] == 0xFF else MACS[port]
    packet = ipv6(src, dst, proto, body, rng.choice((64, 64, 255, 1, 2)))
    return mac + HOSTS[port] + b"\x86\xdd" + packet


def answer6(frame: bytes, port: int, rng: Random) -> bytes:
    """The other end's answer to an IPv6 frame we sent out of ``port``; the frame if it has none."""
    if len(frame) < 78 or frame[20] not in (TCP, UDP, ICMP6):
        return frame
    src, dst = frame[22:38], frame[38:54]
    if frame[20] == ICMP6:
        if frame[54] != 135:
            return frame
        target = frame[62:78]
        body = _message(target, src, 136, b"\x60\0\0\0" + target + bytes([2, 1]) + HOSTS[port])
        packet = ipv6(target, src, ICMP6, body, 255)
        return MACS[port] + HOSTS[port] + b"\x86\xdd" + packet
    segment = bytearray(frame[54:])
    segment[0:2], segment[2:4] = segment[2:4], segment[0:2]
    if frame[20] == TCP:
        segment[13] = rng.choice((0x12, 16, 24, 17, 4))
    fixed = with_sum(dst, src, frame[20], bytes(segment), 16 if frame[20] == TCP else 6)
    return MACS[port] + frame[0:6] + b"\x86\xdd" + ipv6(dst, src, frame[20], fixed)
