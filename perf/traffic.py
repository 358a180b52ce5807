"""Frames of the benchmarks: flow numbers to 60-byte frames, and capture files of them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from perf import network
from perf.errors import PerfError

FRAME = 60
BLOCK = 64  # frames of one side after another in a file of both directions: two bursts
HOSTS = 65000  # client addresses, from 198.18.0.1 on; flows beyond them differ in the port
FIRST_CLIENT = network.number("198.18.0.1")
FIRST_PORT = 2048
MAX_FLOWS = HOSTS * (65536 - FIRST_PORT)
CLIENT_MAC = network.mac_of(network.GATEWAY)
SYN, ACK, PSH = 2, 16, 8
DATA = PSH | ACK

Array = np.ndarray


def clients(flows: Array) -> tuple[Array, Array]:
    """Client address and port (host order) of flow numbers."""
    return (FIRST_CLIENT + flows % HOSTS).astype(np.uint32), (FIRST_PORT + flows // HOSTS).astype(
        np.uint16
    )


def word_sum(frames: Array, begin: int, end: int) -> Array:
    """Sum of the 16-bit words in these bytes of each frame (an even number of them)."""
    words = frames[:, begin:end].astype(np.uint32)
    return (words[:, 0::2] * 256 + words[:, 1::2]).sum(axis=1)


def put(frames: Array, at: int, values: Array | int, width: int) -> None:
    """Write a number of ``width`` bytes into each frame, in network order."""
    for i in range(width):
        frames[:, at + i] = (np.asarray(values, np.uint64) >> (8 * (width - 1 - i))) & 0xFF


def finish(total: Array) -> Array:
    """The checksum of word sums (RFC 1071)."""
    for _ in range(3):
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def build(
    src: Array, dst: Array, sport: Array, dport: Array, proto: str, to: bytes, flags: int = DATA
) -> Array:
    """60-byte frames as a (count, 60) array of bytes; all checksums are right.

    Addresses and ports are host-order arrays; ``to`` is the destination MAC.  A TCP frame with
    SYN has no payload (and so six bytes of padding).
    """
    frames = np.zeros((len(src), FRAME), np.uint8)
    frames[:, 0:6] = np.frombuffer(to, np.uint8)
    frames[:, 6:12] = np.frombuffer(CLIENT_MAC, np.uint8)
    number = network.PROTOCOLS[proto]
    total = 40 if proto == "tcp" and flags & SYN else FRAME - 14
    put(frames, 12, 0x0800, 2)
    put(frames, 14, 0x4500, 2)
    put(frames, 16, total, 2)
    put(frames, 20, 0x4000, 2)  # do not fragment
    put(frames, 22, 64 * 256 + number, 2)
    put(frames, 26, src, 4)
    put(frames, 30, dst, 4)
    put(frames, 24, finish(word_sum(frames, 14, 34)), 2)
    put(frames, 34, sport, 2)
    put(frames, 36, dport, 2)
    check = 40 if proto == "udp" else 50
    if proto == "udp":
        put(frames, 38, total - 20, 2)
    else:
        put(frames, 38, 1000, 4)
        put(frames, 42, 2000 if flags & ACK else 0, 4)
        put(frames, 46, 0x5000 | flags, 2)
        put(frames, 48, 0xFFFF, 2)
    pseudo = word_sum(frames, 26, 34) + number + total - 20
    value = finish(pseudo + word_sum(frames, 34, FRAME))
    if proto == "udp":
        value[value == 0] = 0xFFFF
    put(frames, check, value, 2)
    return frames


def forward(flows: Array, proto: str, to: bytes, flags: int = DATA) -> Array:
    """Frames of the clients of ``flows`` to the virtual service."""
    src, sport = clients(flows)
    dst = np.full(len(flows), network.number(network.VIP), np.uint32)
    dport = np.full(len(flows), network.PORT, np.uint16)
    return build(src, dst, sport, dport, proto, to, flags)


def orders(flows: int, rounds: int, shuffled: bool, seed: int = 1) -> list[Array]:
    """Flow numbers of each round: ascending, or each time in a new random order."""
    if not shuffled:
        return [np.arange(flows)] * rounds
    generator = np.random.default_rng(seed)
    return [generator.permutation(flows) for _ in range(rounds)]


def client_rounds(order: list[Array], proto: str, to: bytes) -> list[Array]:
    """The clients' frames of each round; for TCP the first round opens the connections."""
    return [
        forward(flows, proto, to, SYN if proto == "tcp" and i == 0 else DATA)
        for i, flows in enumerate(order)
    ]


def replies_to(sent: Array, proto: str, to: bytes, flags: int) -> Array:
    """The real servers' answers to frames as the balancer sent them."""
    words = sent.astype(np.uint32)

    def field(at: int, width: int) -> Array:
        value = words[:, at]
        for i in range(1, width):
            value = value * 256 + words[:, at + i]
        return value

    src, dst, sport, dport = field(26, 4), field(30, 4), field(34, 2), field(36, 2)
    return build(dst, src, dport, sport, proto, to, flags)


def interleave(first: Array, second: Array) -> Array:
    """Frames of both arrays in turn, in blocks.

    A reply stands more than a burst behind the frame it answers, as on any wire: it cannot be
    received before that frame was sent.  Shorter frames are padded.  Raises ValueError for fewer
    than BLOCK frames.
    """
    if len(first) < BLOCK:
        raise ValueError(f"{len(first)} frames are fewer than {BLOCK}")
    width = max(first.shape[1], second.shape[1])
    first, second = (np.pad(a, ((0, 0), (0, width - a.shape[1]))) for a in (first, second))
    count = len(first) // BLOCK
    pairs = zip(np.array_split(first, count), np.array_split(second, count), strict=True)
    return np.concatenate([part for pair in pairs for part in pair])


def write_pcap(path: Path, frames: Array) -> None:
    """Write an Ethernet capture file."""
    count, size = frames.shape
    records = np.zeros((count, 16 + size), np.uint8)
    stamps = np.arange(count, dtype=np.uint32)
    head = np.stack(
        (stamps // 1000000, stamps % 1000000, np.full(count, size), np.full(count, size)), axis=1
    ).astype("<u4")
    records[:, :16] = head.view(np.uint8).reshape(count, 16)
    records[:, 16:] = frames
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    try:
        path.write_bytes(header + records.tobytes())
    except OSError as error:
        raise PerfError(f"{path}: {error.strerror}") from error


def read_frames(path: Path, limit: int | None = None) -> list[bytes]:
    """Frames of a capture file that tools.daemon.replay.check_capture accepted."""
    data = path.read_bytes()
    order = "<" if data[:1] in (b"\xd4", b"\x4d") else ">"
    frames: list[bytes] = []
    at = 24
    while at + 16 <= len(data) and (limit is None or len(frames) < limit):
        size = struct.unpack(order + "I", data[at + 8 : at + 12])[0]
        frames.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return frames
