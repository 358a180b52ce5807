"""What the balancer has to make of a frame, computed the long way: no increments, no cache.

The rules are those of the forwarding modes: FullNAT rewrites both ends, NAT the server's end, SNAT
the client's, DR nothing but the Ethernet header; Tunnel puts the whole packet into another (RFC
2003).  All
checksums are computed afresh over the whole packet.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from perf import network
from perf.errors import PerfError

Ends = tuple[int, int, int, int]  # source and destination address, source and destination port


def internet_checksum(data: bytes) -> int:
    """RFC 1071 checksum of ``data`` (whose checksum field is zero)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ends_of(frame: bytes) -> Ends:
    """Addresses and ports of an IPv4 TCP or UDP frame without options."""
    src, dst, sport, dport = struct.unpack(">IIHH", frame[26:38])
    return src, dst, sport, dport


def rewritten(frame: bytes, ends: Ends, to: bytes, sender: bytes, ttl: int = 0) -> bytes:
    """``frame`` with new ends and MAC addresses, TTL less ``ttl``, checksums computed afresh."""
    proto, total = frame[23], struct.unpack(">H", frame[16:18])[0]
    src, dst, sport, dport = ends
    head = bytearray(frame[14:34])
    head[8] -= ttl
    head[10:12] = b"\0\0"
    head[12:20] = struct.pack(">II", src, dst)
    head[10:12] = struct.pack(">H", internet_checksum(bytes(head)))
    body = bytearray(frame[34 : 14 + total])
    body[0:4] = struct.pack(">HH", sport, dport)
    at = 16 if proto == 6 else 6
    if proto == 6 or body[6:8] != b"\0\0":
        body[at : at + 2] = b"\0\0"
        pseudo = bytes(head[12:20]) + struct.pack(">BBH", 0, proto, len(body))
        value = internet_checksum(pseudo + bytes(body))
        body[at : at + 2] = struct.pack(">H", value or (0xFFFF if proto == 17 else 0))
    return to + sender + frame[12:14] + bytes(head) + bytes(body)  # link padding is cut off


def _compare(received: bytes, sent: bytes, wanted: bytes) -> None:
    if sent != wanted:
        at = next((i for i in range(len(wanted)) if sent[i : i + 1] != wanted[i : i + 1]), -1)
        raise PerfError(
            f"wrong output at byte {at}: {sent.hex()} was sent for {received.hex()}, "
            f"{wanted.hex()} is right"
        )


@dataclass
class Oracle:
    """Judges (received, sent) pairs of one run; remembers what was chosen for each flow."""

    mode: str
    services: set[tuple[int, int]]  # (address, port) of the virtual services
    mac: bytes  # of our port
    ttl: int = 0  # taken off each packet (ipvs_defs/conn/xmit_ttl)
    chosen: dict[Ends, Ends] = field(default_factory=dict)
    back: dict[Ends, Ends] = field(default_factory=dict)
    servers: dict[int, bytes] = field(
        default_factory=lambda: {network.number(s): network.mac_of(s) for s in network.SERVERS}
    )
    locals: set[int] = field(default_factory=lambda: {network.number(a) for a in network.LOCALS})
    gateway: bytes = network.mac_of(network.GATEWAY)

    def ends(self, frame: bytes) -> Ends:
        """Addresses and ports of a frame."""
        return ends_of(frame)

    def server_of(self, sent: bytes) -> int:
        """The real server a frame's MAC address belongs to."""
        return int.from_bytes(sent[2:6], "big")

    def rewrite(self, frame: bytes, ends: Ends, to: bytes) -> bytes:
        """What is sent for ``frame`` when it gets these ends."""
        return rewritten(frame, ends, to, self.mac, self.ttl)

    def check(self, received: bytes, sent: bytes) -> None:
        """Raises PerfError naming the first difference between ``sent`` and what it must be."""
        if self.mode == "tunnel":
            return self._in_tunnel(received, sent)
        was, now = self.ends(received), self.ends(sent)
        if (was[1], was[3]) in self.services:
            to = self._to_server(was, now, sent)
        else:
            now, to = self._to_client(was, now)
        wanted = self.rewrite(received, now, to)
        _compare(received, sent, wanted)

    def _in_tunnel(self, received: bytes, sent: bytes) -> None:
        """The packet must be whole inside; the id of the outer header is the balancer's choice."""
        server = int.from_bytes(sent[30:34], "big")
        if server not in self.servers:
            raise PerfError(f"a packet left for {sent[30:34].hex()}, which is no real server")
        before = self.chosen.setdefault(ends_of(received), (server, 0, 0, 0))
        if before[0] != server:
            raise PerfError(f"packets of one flow left for {before[0]:x} and {server:x}")
        inner = bytearray(received[14 : 14 + int.from_bytes(received[16:18], "big")])
        if self.ttl:
            inner[8] -= self.ttl
            inner[10:12] = b"\0\0"
            inner[10:12] = struct.pack(">H", internet_checksum(bytes(inner[:20])))
        head = bytearray(20)
        struct.pack_into(">BBH", head, 0, 0x45, inner[1], 20 + len(inner))
        head[4:6] = sent[18:20]
        head[6] = inner[6] & 0x40
        head[8:10] = bytes((inner[8], 4))
        head[12:20] = struct.pack(">II", network.number(network.ADDRESS), server)
        head[10:12] = struct.pack(">H", internet_checksum(bytes(head)))
        wanted = self.servers[server] + self.mac + b"\x08\0" + bytes(head) + bytes(inner)
        _compare(received, sent, wanted)

    def _to_server(self, was: Ends, now: Ends, sent: bytes) -> bytes:
        before = self.chosen.setdefault(was, now)
        if before != now:
            raise PerfError(f"packets of one flow left with different addresses: {before}, {now}")
        if self.mode == "dr":
            server = self.server_of(sent)
            right = now == was
        else:
            server = now[1]
            right = now[3] == was[3] and (
                (now[0], now[2]) == was[0::2] if self.mode == "nat" else now[0] in self.locals
            )
            if self.mode == "snat":
                right = right and server == was[1]
            if self.back.setdefault((now[1], now[0], now[3], now[2]), was) != was:
                raise PerfError(f"two flows share the addresses {now}")
        if not right or server not in self.servers:
            raise PerfError(f"packet {was} left as {now}, which is no {self.mode} forwarding")
        return self.servers[server]

    def _to_client(self, was: Ends, now: Ends) -> tuple[Ends, bytes]:
        client = self.back.get(was)
        if client is None:
            # Its connection is not in the sample: only the service can be judged.
            if (now[0], now[2]) not in self.services:
                raise PerfError(f"reply {was} left as {now}, which is from no virtual service")
        else:
            now = (client[1], client[0], client[3], client[2])
        return now, self.gateway
