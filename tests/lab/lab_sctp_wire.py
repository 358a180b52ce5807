"""What lab_sctp.py says and hears: SCTP packets (RFC 9260) and the raw sockets they go through."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import NamedTuple

from tools.crc32c import checked

SCTP = 132
DATA, INIT, INIT_ACK, SACK, SHUTDOWN, SHUTDOWN_ACK = 0, 1, 2, 3, 7, 8
COOKIE_ECHO, COOKIE_ACK, SHUTDOWN_COMPLETE = 10, 11, 14
COOKIE = 7  # type of a parameter
IP_PKTINFO = 8  # linux/in.h


def chunk(kind: int, content: bytes = b"", flags: int = 0) -> bytes:
    """A chunk, padded."""
    size = 4 + len(content)
    return struct.pack("!BBH", kind, flags, size) + content + bytes(-size % 4)


class Packet(NamedTuple):
    """A packet that arrived: addresses, ports, tag and its chunks by type."""

    source: str
    target: str
    sport: int
    dport: int
    tag: int
    chunks: dict[int, bytes]


def parse(raw: bytes, source: str, target: str) -> Packet | None:
    """A received packet, None when its checksum or form is wrong."""
    if len(raw) < 12 or checked(raw) != raw:
        return None
    sport, dport, tag = struct.unpack("!HHI", raw[:8])
    chunks, at = {}, 12
    while at + 4 <= len(raw):
        kind, _, size = struct.unpack_from("!BBH", raw, at)
        if size < 4 or at + size > len(raw):
            return None
        chunks[kind] = raw[at + 4 : at + size]
        at += size + -size % 4
    return Packet(source, target, sport, dport, tag, chunks)


class Raw:
    """Raw sockets of both families that speak SCTP."""

    def __init__(self, families: tuple[int, ...]) -> None:
        self.sockets = {family: socket.socket(family, socket.SOCK_RAW, SCTP) for family in families}
        if socket.AF_INET6 in self.sockets:
            six = self.sockets[socket.AF_INET6]
            six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)

    def send(self, target: str, ports: tuple[int, int], tag: int, *chunks: bytes,
             source: str | None = None) -> None:  # fmt: skip
        """Send a packet, from the address ``source``."""
        raw = checked(struct.pack("!HHII", *ports, tag, 0) + b"".join(chunks))
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        ancillary = []
        if source is not None:
            packed = ipaddress.ip_address(source).packed
            if family == socket.AF_INET:
                info = struct.pack("@i4s4s", 0, packed, bytes(4))
                ancillary = [(socket.IPPROTO_IP, IP_PKTINFO, info)]
            else:
                info = struct.pack("@16si", packed, 0)
                ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]
        self.sockets[family].sendmsg([raw], ancillary, 0, (target, 0))

    def receive(self, family: int, seconds: float | None) -> Packet | None:
        """The next packet of a family, or None: nothing within so long, or a damaged one."""
        sock = self.sockets[family]
        sock.settimeout(seconds)
        try:
            raw, ancillary, _, peer = sock.recvmsg(65535, 256)
        except TimeoutError:
            return None
        if family == socket.AF_INET:
            target = str(ipaddress.IPv4Address(raw[16:20]))
            return parse(raw[(raw[0] & 15) * 4 :], peer[0], target)
        target = str(ipaddress.IPv6Address(ancillary[0][2][:16]))
        return parse(raw, peer[0], target)


def cookie_of(content: bytes) -> bytes:
    """The cookie among the parameters of an INIT ACK."""
    at = 16
    while at + 4 <= len(content):
        kind, size = struct.unpack_from("!HH", content, at)
        if kind == COOKIE:
            return content[at + 4 : at + size]
        at += size + -size % 4
    raise SystemExit("an INIT ACK without cookie")
