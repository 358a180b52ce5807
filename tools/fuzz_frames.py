"""Valid frames of every kind the balancer meets: what the fuzzer mutates."""

from __future__ import annotations

import random
import struct

from tools.fuzz_said import said, sctp
from tools.fuzz_services import PORTS

Random = random.Random
MACS = (bytes.fromhex("020000000001"), bytes.fromhex("020000000002"))
HOSTS = (bytes.fromhex("02aa00000002"), bytes.fromhex("02bb0000000b"))
BROADCAST = b"\xff" * 6
VIP = 0xC0000264  # 192.0.2.100
NETS = (0xC6120000, 0xC6130000)  # 198.18.0.0/24 on port 0, 198.19.0.0/24 on port 1
OURS = (VIP, NETS[0] + 1, NETS[1] + 1, NETS[1] + 200, NETS[1] + 201, NETS[0] + 100)
SCTP = 132
ODD = (0, 0x7F000001, 0xE0000005, 0xFFFFFFFF, 0xF0000001, 0x08080808, 0xCB007109)


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071) of ``data``."""
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF


def ipv4(src: int, dst: int, proto: int, body: bytes, rng: Random, options: bytes = b"") -> bytes:
    """A complete IPv4 packet; ``options`` are a multiple of four bytes."""
    size = 20 + len(options)
    head = struct.pack(
        ">BBHHHBBHII",
        *(0x40 | size // 4, 0, size + len(body), rng.getrandbits(16)),
        *(rng.choice((0, 0x4000)), rng.choice((64, 64, 255, 1, 2)), proto, 0, src, dst),
    )
    check = checksum(head + options)
    return head[:10] + struct.pack(">H", check) + head[12:] + options + body


def pseudo(src: int, dst: int, proto: int, segment: bytes) -> bytes:
    """What the checksum of a TCP or UDP ``segment`` covers (RFC 9293 3.1)."""
    return struct.pack(">IIHH", src, dst, proto, len(segment)) + segment


def tcp(src: int, dst: int, sport: int, dport: int, flags: int, data: bytes = b"") -> bytes:
    """A TCP segment, checksum right."""
    head = struct.pack(">HHIIBBHHH", sport, dport, 1000, 2000, 0x50, flags, 8192, 0, 0)
    check = checksum(pseudo(src, dst, 6, head + data))
    return head[:16] + struct.pack(">H", check) + head[18:] + data


def udp(src: int, dst: int, sport: int, dport: int, data: bytes) -> bytes:
    """A UDP datagram, checksum right."""
    head = struct.pack(">HHHH", sport, dport, 8 + len(data), 0)
    return (
        head[:6] + struct.pack(">H", checksum(pseudo(src, dst, 17, head + data)) or 0xFFFF) + data
    )


def arp(op: int, sender: int, mac: bytes, target: int, target_mac: bytes = bytes(6)) -> bytes:
    """The 28 bytes of an ARP packet."""
    head = struct.pack(">HHBBH", 1, 0x0800, 6, 4, op)
    return head + mac + struct.pack(">I", sender) + target_mac + struct.pack(">I", target)


def _host(port: int, rng: Random) -> int:
    return NETS[port] + rng.choice((2, 2, 3, 11, 12, 13, 11, 12, rng.randrange(256)))


def _arp(port: int, rng: Random) -> bytes:
    kind = rng.randrange(4)
    sender = _host(port, rng)
    mac = HOSTS[port][:5] + bytes([sender & 0xFF])
    if kind == 0:
        return BROADCAST + mac + b"\x08\x06" + arp(1, sender, mac, rng.choice(OURS))
    if kind == 1:
        return BROADCAST + mac + b"\x08\x06" + arp(rng.choice((1, 2)), sender, mac, sender)
    target = NETS[port] + 1
    return MACS[port] + mac + b"\x08\x06" + arp(2, sender, mac, target, MACS[port])


def _icmp(port: int, rng: Random) -> tuple[int, int, int, bytes]:
    src = _host(port, rng)
    dst = rng.choice(OURS) if rng.random() < 0.6 else _host(1 - port, rng)
    kind = rng.choice((8, 8, 8, 0, 3, 5, 11, 13))
    body = struct.pack(">BBHI", kind, 0, 0, rng.getrandbits(32)) + rng.randbytes(rng.randrange(64))
    return src, dst, 1, body[:2] + struct.pack(">H", checksum(body)) + body[4:]


def _far(port: int, rng: Random) -> int:
    """Where packets go: a service, or from inside out."""
    if rng.random() < 0.1:
        return rng.choice((*OURS, *ODD, _host(1 - port, rng)))
    if port == 1 and rng.random() < 0.5:
        return rng.choice((_host(0, rng), 0xCB007109))
    return VIP


def _transport(port: int, rng: Random) -> tuple[int, int, int, bytes]:
    src, dst = _host(port, rng), _far(port, rng)
    proto = rng.choice(("tcp", "tcp", "tcp", "udp", "udp", "sctp"))
    sport = rng.randrange(1024, 1024 + rng.choice((8, 512, 60000)))
    dport = rng.choice(PORTS[proto, 4])
    if proto == "sctp":
        return src, dst, SCTP, sctp(sport, dport, rng)
    data = said(dport, rng)
    if proto == "tcp":
        flags = rng.choice((2, 2, 2, 16, 24, 17, 4))
        return src, dst, 6, tcp(src, dst, sport, dport, flags, data)
    return src, dst, 17, udp(src, dst, sport, dport, data)


def fresh(port: int, rng: Random) -> bytes:
    """A valid frame that arrives on ``port``: ARP, ICMP, TCP, UDP, other protocols and types."""
    choice = rng.random()
    if choice < 0.08:
        return _arp(port, rng)
    ether = MACS[port] + HOSTS[port]
    if choice < 0.10:
        return ether + rng.choice((b"\x86\xdd", b"\x81\x00", b"\x00\x40")) + rng.randbytes(50)
    if choice < 0.18:
        src, dst, proto, body = _icmp(port, rng)
    else:
        src, dst, proto, body = _transport(port, rng)
    if choice > 0.99:
        proto = rng.choice((2, 47, 50, SCTP))
    options = b""
    if choice > 0.95:
        options = rng.choice(
            (b"\1\1\1\0", b"\x94\4\0\0", b"\7\7\4\0\0\0\0\0", b"\x83\7\4\1\2\3\4\0")
        )
    return ether + b"\x08\x00" + ipv4(src, dst, proto, body, rng, options)


def reply_flags(flags: int, rng: Random) -> int:
    """TCP flags of an answer to a segment; most that open a connection are accepted."""
    return 0x12 if flags == 2 and rng.random() < 0.7 else rng.choice((0x12, 16, 24, 17, 4))


def answer(frame: bytes, port: int, rng: Random) -> bytes:
    """The other end's answer to a frame we sent out of ``port``; the frame if it has none."""
    if len(frame) < 42:
        return frame
    if frame[12:14] == b"\x08\x06" and frame[21] == 1:
        target = int.from_bytes(frame[38:42], "big")
        mac = HOSTS[port][:5] + bytes([target & 0xFF])
        asker = int.from_bytes(frame[28:32], "big")
        return MACS[port] + mac + b"\x08\x06" + arp(2, target, mac, asker, MACS[port])
    if len(frame) < 48 or frame[12:14] != b"\x08\x00" or frame[14] != 0x45:
        return frame
    src, dst = struct.unpack(">II", frame[26:34])
    sport, dport = struct.unpack(">HH", frame[34:38])
    if frame[23] == 6:
        flags = reply_flags(frame[47], rng)
        body = tcp(dst, src, dport, sport, flags, said(sport, rng))
    elif frame[23] == 17:
        body = udp(dst, src, dport, sport, rng.randbytes(rng.randrange(100)))
    elif frame[23] == SCTP:
        body = sctp(dport, sport, rng)
    elif frame[23] == 1 and frame[34] == 8:
        body = b"\0\0\0\0" + frame[38:]
        body = body[:2] + struct.pack(">H", checksum(body)) + body[4:]
    else:
        return frame
    return MACS[port] + frame[0:6] + b"\x08\x00" + ipv4(dst, src, frame[23], body, rng)
