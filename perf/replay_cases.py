"""Capture files for ``replay``: made for a case, or looked at when they are somebody's own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perf import network, traffic
from perf.balancer import services_of
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
    flows: int | None = None  # known for generated files
    extra: dict[str, Any] = field(default_factory=dict)


def first_pass(rounds: list[traffic.Array], case: Case, table: int) -> traffic.Array:
    """What the balancer makes of the first round: the replies depend on its local ports."""
    source = case.path.with_suffix(".first.pcap")
    target = case.path.with_suffix(".sent.pcap")
    traffic.write_pcap(source, rounds[0])
    job = {
        "pcap": str(source), "sent": str(target), "mode": case.mode, "mac": case.mac.hex(),
        "services": case.services, "table": table,
    }  # fmt: skip
    in_child("perf.replay_first:forward_once", job)
    sent = traffic.read_frames(target)
    source.unlink()
    target.unlink()
    ours = [frame for frame in sent if frame[12:14] == b"\x08\x00"]
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
    result = []
    for i, frames in enumerate(rounds):
        opening = proto == "tcp" and i == 0
        flags = traffic.SYN | traffic.ACK if opening else traffic.DATA
        answers = traffic.replies_to(by_flow[order[i]], proto, case.mac, flags)
        result.append(traffic.interleave(frames, answers))
    return result


def generate(
    folder: Path, flows: int, mode: str, proto: str, shuffled: bool, both: bool, table: int
) -> Case:
    """A capture file of ``flows`` connections.  Raises PerfError."""
    if both and mode in ("dr", "tunnel"):
        raise PerfError(f"{mode}: replies do not come through the balancer, leave --both out")
    rounds = TCP_ROUNDS if proto == "tcp" else 1
    rounds = max(rounds, SHUFFLED_ROUNDS) if shuffled else rounds
    words = [proto, mode, str(flows), *["shuffled"] * shuffled, *["both"] * both]
    case = Case("-".join(words), folder / f"{'-'.join(words)}.pcap", mode, MAC, 0,
                services_of(proto), flows)  # fmt: skip
    order = traffic.orders(flows, rounds, shuffled)
    if both:
        order = [np.tile(part, -(-traffic.BLOCK // flows)) for part in order]
    frames = traffic.client_rounds(order, proto, MAC)
    if both:
        frames = with_replies(frames, order, case, proto, table)
    case.frames = sum(len(part) for part in frames)
    traffic.write_pcap(case.path, np.concatenate(frames))
    return case


def examine(path: Path, mode: str, services: list[network.Service]) -> Case:
    """Somebody's capture file: its services are its destinations.  Raises PerfError."""
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
