"""The benchmarks' network with IPv6 throughout: the same hosts, the same traffic."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from typing import Any

from perf import network
from perf.oracle import Ends, Oracle, internet_checksum
from perf.traffic import DATA, FIRST_PORT, SYN

VIP = "2001:db8:ff::64"
ADDRESS = "2001:db8:2::1"
GATEWAY = "2001:db8:2::fe"
CLIENTS = "2001:db8:c::"  # the last four bytes are the IPv4 client's
SERVERS = tuple(f"2001:db8:2::{n:x}" for n in range(16, 32))
LOCALS = tuple(f"2001:db8:2::{n:x}" for n in range(200, 217))
MODES = ("fullnat", "nat", "dr")
FRAME = 80  # the same payload as in 60 bytes with IPv4
L4 = 54


def number(address: str) -> int:
    """Number of an IPv6 address."""
    return int(ipaddress.IPv6Address(address))


def mac_of(address: str) -> bytes:
    """MAC address of one of our hosts: 02:bb and the end of the IPv6 address."""
    return b"\x02\xbb" + ipaddress.IPv6Address(address).packed[12:]


def links() -> list[str]:
    """As perf.network.links."""
    device = network.DEVICE
    lines = [f"dpip addr add {ADDRESS}/64 dev {device}"]
    lines.append(f"dpip -6 route add default via {GATEWAY} dev {device}")
    for host in (GATEWAY, *SERVERS):
        lines.append(f"dpip neigh add {host} lladdr {mac_of(host).hex(':')} dev {device}")
    return lines


def service_addresses(services: Iterable[network.Service]) -> list[str]:
    """The commands for the addresses of virtual services."""
    found = dict.fromkeys(address for _, address, _ in services)
    return [f"dpip addr add {address}/128 dev {network.DEVICE}" for address in found]


def commands(services: Iterable[network.Service], mode: str) -> list[str]:
    """The operator's commands, as perf.network.commands has them."""
    device, chosen = network.DEVICE, list(services)
    lines = links() + service_addresses(chosen)
    for proto, address, port in chosen:
        key = f"{network.SERVICE_OPTION[proto]} [{address}]:{port}"
        lines.append(f"ipvsadm -A {key} -s rr")
        for server in SERVERS:
            option = network.MODE_OPTION[mode]
            lines.append(f"ipvsadm -a {key} -r [{server}]:{port} {option} -w 1")
        if mode == "fullnat":
            lines += [f"ipvsadm -P {key} -z {local} -F {device}" for local in LOCALS]
    return lines


def client_frame(proto: str, to: bytes, flags: int = DATA) -> bytes:
    """The frame of flow 0 to the virtual service, its L4 checksum zero; 80 bytes."""
    udp = proto == "udp"
    payload = 26 if udp else (20 if flags & SYN else 26)
    source = ipaddress.IPv6Address(CLIENTS).packed[:12] + ipaddress.IPv4Address("198.18.0.1").packed
    head = struct.pack(">IHBB", 6 << 28, payload, network.PROTOCOLS[proto], 64)
    head += source + ipaddress.IPv6Address(VIP).packed
    ports = struct.pack(">HH", FIRST_PORT, network.PORT)
    if udp:
        l4 = ports + struct.pack(">HH", payload, 0)
    else:
        acked = 0 if flags & SYN else 2000
        l4 = ports + struct.pack(">IIHHHH", 1000, acked, 0x5000 | flags, 0xFFFF, 0, 0)
    frame = to + mac_of(GATEWAY) + b"\x86\xdd" + head + l4
    return frame.ljust(FRAME, b"\0")


def ends_of(frame: bytes) -> Ends:
    """Addresses and ports of an IPv6 TCP or UDP frame without extension headers."""
    src, dst = (int.from_bytes(frame[at : at + 16], "big") for at in (22, 38))
    return src, dst, *struct.unpack(">HH", frame[L4 : L4 + 4])


class Oracle6(Oracle):
    """perf.oracle.Oracle for IPv6: no header checksum, a longer pseudo header."""

    def __init__(
        self, mode: str, mac: bytes, services: set[tuple[int, int]] | None = None, **more: Any
    ) -> None:
        given: dict[str, Any] = {
            "servers": {number(s): mac_of(s) for s in SERVERS},
            "locals": {number(a) for a in LOCALS},
            "gateway": mac_of(GATEWAY),
            **more,
        }
        super().__init__(mode, services or {(number(VIP), network.PORT)}, mac, **given)

    def ends(self, frame: bytes) -> Ends:
        """See ``ends_of``."""
        return ends_of(frame)

    def server_of(self, sent: bytes) -> int:
        """The real server a frame's MAC address belongs to (0: none)."""
        return next((a for a, mac in self.servers.items() if mac == sent[:6]), 0)

    def rewrite(self, frame: bytes, ends: Ends, to: bytes) -> bytes:
        """``frame`` with new ends and MAC addresses, checksum computed afresh."""
        length, proto = int.from_bytes(frame[18:20], "big"), frame[20]
        head = bytearray(frame[14:L4])
        # Direct routing leaves the header as it is.
        head[7] -= 0 if self.mode == "dr" else self.ttl
        head[8:40] = ends[0].to_bytes(16, "big") + ends[1].to_bytes(16, "big")
        body = bytearray(frame[L4 : L4 + length])
        body[0:4] = struct.pack(">HH", *ends[2:])
        at = 16 if proto == 6 else 6
        body[at : at + 2] = b"\0\0"
        value = internet_checksum(
            bytes(head[8:40]) + struct.pack(">II", length, proto) + bytes(body)
        )
        body[at : at + 2] = struct.pack(">H", value or (0xFFFF if proto == 17 else 0))
        return to + self.mac + frame[12:14] + bytes(head) + bytes(body)
