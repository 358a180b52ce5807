"""Frames of the benchmarks with IPv6: flow numbers to 80-byte frames, and the answers to them."""

from __future__ import annotations

import numpy as np

from perf import network, network6
from perf.traffic import DATA, SYN, Array, clients, finish, put, word_sum

_SRC, _DST, _PORTS = slice(22, 38), slice(38, 54), network6.L4


def _frames(count: int, proto: str, to: bytes, flags: int) -> Array:
    template = np.frombuffer(network6.client_frame(proto, to, flags), np.uint8)
    return np.tile(template, (count, 1))


def _checked(frames: Array, proto: str) -> Array:
    """The frames with their L4 checksum, which is zero before."""
    length = int(frames[0, 18]) * 256 + int(frames[0, 19])
    total = word_sum(frames, 22, network6.L4 + length) + network.PROTOCOLS[proto] + length
    value = finish(total)
    if proto == "udp":
        value[value == 0] = 0xFFFF
    put(frames, network6.L4 + (16 if proto == "tcp" else 6), value, 2)
    return frames


def forward(flows: Array, proto: str, to: bytes, flags: int = DATA) -> Array:
    """Frames of the clients of ``flows`` to the virtual service."""
    frames = _frames(len(flows), proto, to, flags)
    address, port = clients(flows)
    put(frames, 34, address, 4)
    put(frames, _PORTS, port, 2)
    return _checked(frames, proto)


def client_rounds(order: list[Array], proto: str, to: bytes) -> list[Array]:
    """As perf.traffic.client_rounds."""
    return [
        forward(flows, proto, to, SYN if proto == "tcp" and i == 0 else DATA)
        for i, flows in enumerate(order)
    ]


def replies_to(sent: Array, proto: str, to: bytes, flags: int) -> Array:
    """The real servers' answers to frames as the balancer sent them."""
    frames = _frames(len(sent), proto, to, flags)
    frames[:, _SRC], frames[:, _DST] = sent[:, _DST], sent[:, _SRC]
    frames[:, _PORTS : _PORTS + 2] = sent[:, _PORTS + 2 : _PORTS + 4]
    frames[:, _PORTS + 2 : _PORTS + 4] = sent[:, _PORTS : _PORTS + 2]
    return _checked(frames, proto)
