"""Capture files for ``replay``: made for a case, or looked at when they are somebody's own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perf import network, traffic, traffic6, ways
from perf.child import in_child
from perf.errors import PerfError
from tools.daemon.replay import ReplayError, check_capture

MAC = bytes.fromhex("02aa00000001")
MAX_SERVICES = 64
SHUFFLED_ROUNDS = 4
TCP_ROUNDS = 4  # the first opens the connections, the others carry data


@dataclass
class Case:
    """One file to replay: what is in it and what it is for."""

    name: str
    path: Path
    mode: str
    mac: bytes
    frames: int
    services: list[network.Service]
    family: int = 4
    flows: int | None = None  # known for generated files
    extra: dict[str, Any] = field(default_factory=dict)


def _protocol(frame: bytes) -> int:
    """Number of the protocol a frame's IP header names, -1 for other frames."""
    at = {b"\x08\0": 23, b"\x86\xdd": 20}.get(frame[12:14])
    return -1 if at is None else frame[at]


def first_pass(rounds: list[traffic.Array], case: Case, table: int) -> traffic.Array:
    """What the balancer makes of the first round: the replies depend on its local ports."""
    source = case.path.with_suffix(".first.pcap")
    target = case.path.with_suffix(".sent.pcap")
    traffic.write_pcap(source, rounds[0])
    job = {
        "pcap": str(source), "sent": str(target), "mode": case.mode, "mac": case.mac.hex(),
        "services": case.services, "table": table, "family": case.family,
    }  # fmt: skip
    in_child("perf.replay_first:forward_once", job)
    sent = traffic.read_frames(target)
    source.unlink()
    target.unlink()
    # The others are ours: announcements, and questions for neighbours.
    ours = [frame for frame in sent if _protocol(frame) in network.PROTOCOLS.values()]
    if len(ours) != len(rounds[0]):
        raise PerfError(f"{len(rounds[0])} packets were received, {len(ours)} sent")
    return np.frombuffer(b"".join(ours), np.uint8).reshape(len(ours), -1)


def with_replies(
    rounds: list[traffic.Array], order: list[traffic.Array], case: Case, proto: str, table: int
) -> list[traffic.Array]:
    """Each client frame followed by its server's answer."""
    sent = first_pass(rounds, case, table)
    by_flow = np.empty((order[0].max() + 1, sent.shape[1]), np.uint8)
    by_flow[order[0]] = sent
    # What a NAT64 sends to its servers is IPv4.
    answer = traffic if sent[0, 12] == 8 else traffic6
    result = []
    for i, frames in enumerate(rounds):
        opening = proto == "tcp" and i == 0
        flags = traffic.SYN | traffic.ACK if opening else traffic.DATA
        answers = answer.replies_to(by_flow[order[i]], proto, case.mac, flags)
        result.append(traffic.interleave(frames, answers))
    return result


def generate(
    folder: Path, flows: int, mode: str, proto: str, shuffled: bool, both: bool, table: int,
    family: int = 4,
) -> Case:  # fmt: skip
    """A capture file of ``flows`` connections.  Raises PerfError."""
    if family not in ways.FAMILIES[mode]:
        raise PerfError(f"{mode}: there is no IPv{family} traffic for it")
    if both and mode in ways.ONE_WAY:
        raise PerfError(f"{mode}: replies do not come through the balancer, leave --both out")
    rounds = TCP_ROUNDS if proto == "tcp" else 1
    rounds = max(rounds, SHUFFLED_ROUNDS) if shuffled else rounds
    words = [proto, *ways.title(mode, family).split(), str(flows)]
    name = "-".join([*words, *["shuffled"] * shuffled, *["both"] * both])
    services = ways.services_of(proto, family)
    case = Case(name, folder / f"{name}.pcap", mode, MAC, 0, services, family, flows)
    order = traffic.orders(flows, rounds, shuffled)
    if both:
        order = [np.tile(part, -(-traffic.BLOCK // flows)) for part in order]
    maker = traffic6 if family == 6 else traffic
    frames = maker.client_rounds(order, proto, MAC)
    if both:
        frames = with_replies(frames, order, case, proto, table)
    case.frames = sum(len(part) for part in frames)
    traffic.write_pcap(case.path, np.concatenate(frames))
    return case


def examine(path: Path, mode: str, services: list[network.Service]) -> Case:
    """Somebody's capture file: its services are its IPv4 destinations.  Raises PerfError."""
    if 4 not in ways.FAMILIES[mode]:
        raise PerfError(f"{mode}: --pcap takes files of IPv4 packets")
    try:
        count = check_capture(str(path))
    except ReplayError as error:
        raise PerfError(str(error)) from error
    macs: Counter[bytes] = Counter()
    ends: Counter[network.Service] = Counter()
    names = {number: name for name, number in network.PROTOCOLS.items()}
    for frame in traffic.read_frames(path):
        macs[frame[:6]] += 1
        if len(frame) >= 42 and frame[12:15] == b"\x08\x00\x45" and frame[23] in names:
            address = ".".join(str(byte) for byte in frame[30:34])
            ends[(names[frame[23]], address, int.from_bytes(frame[36:38], "big"))] += 1
    if not ends:
        raise PerfError(f"{path}: no IPv4 TCP or UDP packet in it")
    chosen = services or list(ends)
    if len(chosen) > MAX_SERVICES:
        raise PerfError(
            f"{path}: packets go to {len(chosen)} services; name yours with --service "
            "(such as udp:192.0.2.100:80)"
        )
    return Case(path.name, path, mode, macs.most_common(1)[0][0], count, chosen)
