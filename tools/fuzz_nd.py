"""Valid frames of neighbour discovery and of multicast listener discovery."""

from __future__ import annotations

import ipaddress
import random
import struct

from tools.fuzz_frames import HOSTS, MACS
from tools.fuzz_frames6 import ICMP6, LINK, OURS6, host6, ipv6, message

Random = random.Random
ALL_NODES = ipaddress.IPv6Address("ff02::1").packed
SOLICITED = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13]
ALERT = bytes([ICMP6, 0, 5, 2, 0, 0, 1, 0])  # hop-by-hop header with router alert (RFC 2711)
SOLICITATION, ADVERTISEMENT, QUERY = 135, 136, 130


def _group_mac(group: bytes) -> bytes:
    return b"\x33\x33" + group[12:]


def _solicitation(port: int, rng: Random) -> tuple[bytes, bytes]:
    """(destination MAC, packet) of a solicitation, one in seven a probe for duplicates."""
    src, target = host6(port, rng), rng.choice((*OURS6, LINK[port]))
    dst, option = SOLICITED + target[13:], bytes([1, 1]) + HOSTS[port]
    if rng.random() < 0.15:
        src, option = bytes(16), b""
    body = message(src, dst, SOLICITATION, bytes(4) + target + option)
    return _group_mac(dst), ipv6(src, dst, ICMP6, body, 255)


def _advertisement(port: int, rng: Random) -> tuple[bytes, bytes]:
    src, target = host6(port, rng), rng.choice((*OURS6, LINK[port]))
    flags = bytes([rng.choice((0x60, 0x40, 0x20, 0)), 0, 0, 0])
    subject = rng.choice((src, src, target))
    dst = ALL_NODES if flags[0] & 0x40 == 0 else OURS6[1 + port]
    body = message(src, dst, ADVERTISEMENT, flags + subject + bytes([2, 1]) + HOSTS[port])
    return _group_mac(dst) if dst == ALL_NODES else MACS[port], ipv6(src, dst, ICMP6, body, 255)


def _query(port: int, rng: Random) -> tuple[bytes, bytes]:
    """(destination MAC, packet) of a listener query (RFC 3810 5.1, one in four of version 1)."""
    src = LINK[2 + port]
    group = rng.choice((bytes(16), SOLICITED + rng.choice((*OURS6, LINK[port]))[13:]))
    dst = ALL_NODES if not any(group) else group
    rest = struct.pack(">HH", rng.choice((0, 100, 1000, 10_000, 0x8001, 0xFFFF)), 0) + group
    if rng.random() < 0.75:
        sources = rng.choice((0, 0, 0, 1, 3, 0xFFFF))
        rest += struct.pack(">BBH", rng.randrange(16), 125, sources) + bytes(16 * (sources & 3))
    body = ALERT + message(src, dst, QUERY, rest)
    return _group_mac(dst), ipv6(src, dst, 0, body, 1)


def neighbourly(port: int, rng: Random) -> bytes:
    """A frame that arrives on ``port``."""
    make = rng.choice((_solicitation, _solicitation, _advertisement, _advertisement, _query))
    mac, packet = make(port, rng)
    return mac + HOSTS[port] + b"\x86\xdd" + packet
