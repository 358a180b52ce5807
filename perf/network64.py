"""NAT64 in the benchmarks' network: clients with IPv6, real servers with IPv4."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from perf import network, network6
from perf.oracle import Ends, Oracle, ends_of, internet_checksum

IPV6 = b"\x86\xdd"


def commands(services: Iterable[network.Service]) -> list[str]:
    """The operator's commands: virtual services as of IPv6, all the others' sides as of IPv4."""
    chosen = list(services)
    lines = network.links() + network6.links() + network6.service_addresses(chosen)
    for proto, address, port in chosen:
        lines += network.service_commands((proto, f"[{address}]", port), "fullnat")
    return lines


class Oracle64(Oracle):
    """perf.oracle.Oracle for FullNAT between the families (RFC 7915), both directions.

    The id of an IPv4 header is the balancer's choice.
    """

    def __init__(self, mac: bytes, services: set[tuple[int, int]]) -> None:
        super().__init__("fullnat", services, mac, gateway=network6.mac_of(network6.GATEWAY))
        self._ident = b""

    def ends(self, frame: bytes) -> Ends:
        """Addresses and ports of a frame of either family."""
        return network6.ends_of(frame) if frame[12:14] == IPV6 else ends_of(frame)

    def check(self, received: bytes, sent: bytes) -> None:
        """See ``Oracle.check``."""
        self._ident = sent[18:20]
        super().check(received, sent)

    def rewrite(self, frame: bytes, ends: Ends, to: bytes) -> bytes:
        """The frame in the other family."""
        if frame[12:14] == IPV6:
            return self._to_ipv4(frame, ends, to)
        return self._to_ipv6(frame, ends, to)

    def _to_ipv4(self, frame: bytes, ends: Ends, to: bytes) -> bytes:
        length, proto = int.from_bytes(frame[18:20], "big"), frame[20]
        body = frame[network6.L4 : network6.L4 + length]
        traffic = int.from_bytes(frame[14:16], "big") >> 4 & 0xFF
        head = bytearray(struct.pack(">BBH", 0x45, traffic, 20 + length) + self._ident + bytes(4))
        head[8:10] = frame[21] - self.ttl, proto
        head += bytes(2) + struct.pack(">II", *ends[:2])
        head[10:12] = struct.pack(">H", internet_checksum(bytes(head)))
        pseudo = bytes(head[12:20]) + struct.pack(">BBH", 0, proto, length)
        return to + self.mac + b"\x08\0" + bytes(head) + _renewed(body, ends, proto, pseudo)

    def _to_ipv6(self, frame: bytes, ends: Ends, to: bytes) -> bytes:
        length, proto = int.from_bytes(frame[16:18], "big") - 20, frame[23]
        body = frame[34 : 34 + length]
        addresses = b"".join(end.to_bytes(16, "big") for end in ends[:2])
        head = struct.pack(">IHBB", 6 << 28 | frame[15] << 20, length, proto, frame[22] - self.ttl)
        pseudo = addresses + struct.pack(">II", length, proto)
        return to + self.mac + IPV6 + head + addresses + _renewed(body, ends, proto, pseudo)


def _renewed(body: bytes, ends: Ends, proto: int, pseudo: bytes) -> bytes:
    """A TCP or UDP segment with other ports, its checksum computed afresh."""
    new = bytearray(struct.pack(">HH", *ends[2:]) + body[4:])
    at = 16 if proto == 6 else 6
    new[at : at + 2] = b"\0\0"
    value = internet_checksum(pseudo + bytes(new))
    new[at : at + 2] = struct.pack(">H", value or (0xFFFF if proto == 17 else 0))
    return bytes(new)
