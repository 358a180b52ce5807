"""The virtual services and SNAT rules of the fuzzed worker: one of every kind there is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VIPS = {4: "192.0.2.100", 6: "2001:db8:100::100"}
# Local addresses of both families (port 1), then what the outside sees of inside hosts (port 0).
LADDRS = (
    ("198.19.0.200", 1), ("198.19.0.201", 1), ("2001:db8:19::200", 1), ("2001:db8:19::201", 1),
    ("198.18.0.100", 0), ("2001:db8:18::100", 0),
)  # fmt: skip
FIRST_LADDR = {4: 0, 6: 2}
OUTSIDE = {4: 4, 6: 5}  # numbers of the outside addresses
SERVERS_EACH = 4  # numbers of real servers set aside for a service


@dataclass(frozen=True)
class Kind:
    """A service; ``pair`` are the IP versions of its clients and of its real servers."""

    proto: str
    port: int
    mode: str
    pair: str = "44"
    servers: int = 2
    laddrs: int = 2
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """IP version of its clients."""
        return int(self.pair[0])

    def __str__(self) -> str:
        return f"{self.proto}:{self.port} {self.mode} {self.pair}"


def _sctp(pair: str, modes: dict[str, int], **more: Any) -> tuple[Kind, ...]:
    """SCTP services of the modes on ports."""
    return tuple(Kind("sctp", port, mode, pair, more=more) for mode, port in modes.items())


SERVICES: tuple[Kind, ...] = (
    Kind("tcp", 80, "fullnat", servers=3, more={"conn_timeout": 2}),
    Kind("tcp", 81, "nat", more={"sched": "wrr", "conn_timeout": 2}),
    Kind("tcp", 82, "dr", more={"sched": "wlc"}),
    Kind("tcp", 83, "fullnat", servers=0),
    Kind("tcp", 84, "fullnat", laddrs=0),
    Kind("tcp", 85, "fullnat", laddrs=1, more={"u_thresh": 20, "conn_timeout": 2}),
    Kind("tcp", 86, "fullnat", servers=3, more={"flags": ["expire_quiescent"]}),
    Kind("tcp", 87, "fullnat", more={"proxy_protocol": "v1-insecure"}),
    Kind("tcp", 88, "tunnel"),
    Kind("tcp", 89, "tunnel", "46", more={"sched": "fo"}),
    Kind("udp", 53, "fullnat", servers=3, more={"conn_timeout": 5}),
    Kind("udp", 54, "nat", more={"persistent": 2}),
    Kind("udp", 55, "fullnat", laddrs=1, more={"proxy_protocol": "v2"}),
    Kind("udp", 56, "tunnel", "46"),
    Kind("udp", 57, "fullnat", more={"flags": ["ops"]}),
    Kind("udp", 58, "dr", more={"flags": ["ops"]}),
    Kind("udp", 59, "tunnel", more={"flags": ["ops"]}),
    Kind("udp", 443, "fullnat", servers=3, more={"flags": ["quic"]}),
    Kind("udp", 444, "dr", more={"flags": ["quic"], "quic_lb": (3, 1)}),
    Kind("udp", 0, "fullnat", more={"persistent": 2}),
    *_sctp("44", {"fullnat": 9, "nat": 10, "dr": 11, "tunnel": 12}),
    *_sctp("46", {"tunnel": 13}),
    Kind("tcp", 80, "fullnat", "66", servers=3, more={"conn_timeout": 2}),
    Kind("tcp", 81, "nat", "66", more={"conn_timeout": 2}),
    Kind("tcp", 82, "dr", "66"),
    Kind("tcp", 83, "fullnat", "64", more={"conn_timeout": 2}),
    Kind("tcp", 84, "tunnel", "66"),
    Kind("tcp", 85, "tunnel", "64"),
    Kind("tcp", 86, "fullnat", "66", more={"proxy_protocol": "v2"}),
    Kind("tcp", 87, "fullnat", "64", more={"proxy_protocol": "v1-insecure"}),
    Kind("tcp", 0, "fullnat", "66", more={"persistent": 2}),
    Kind("udp", 53, "fullnat", "66", more={"conn_timeout": 5}),
    Kind("udp", 54, "nat", "66", more={"persistent": 2}),
    Kind("udp", 55, "fullnat", "64"),
    Kind("udp", 56, "tunnel", "64"),
    Kind("udp", 57, "fullnat", "66", more={"flags": ["ops"]}),
    Kind("udp", 58, "fullnat", "64", more={"flags": ["ops"]}),
    Kind("udp", 59, "tunnel", "66", more={"flags": ["ops"]}),
    Kind("udp", 443, "fullnat", "66", more={"flags": ["quic"]}),
    *_sctp("66", {"fullnat": 9, "nat": 10, "dr": 11, "tunnel": 12}),
    *_sctp("64", {"fullnat": 13, "tunnel": 14}, conn_timeout=5),
    *(
        Kind(proto, 0, "snat", "44", 1, more={"conn_timeout": 2})
        for proto in ("tcp", "udp", "sctp", "icmp")
    ),
    *(
        Kind(proto, 0, "snat", "66", 1, more={"conn_timeout": 2})
        for proto in ("tcp", "udp", "sctp", "icmpv6")
    ),
)
DESTS = SERVERS_EACH * len(SERVICES)


def _ports_of(proto: str, version: int) -> tuple[int, ...]:
    own = {kind.port for kind in SERVICES if (kind.proto, kind.version) == (proto, version)}
    return (*sorted(own - {0}), 7)


# Ports worth sending to; 7 has no service of its own, but where there is one of all ports.
PORTS = {(p, v): _ports_of(p, v) for p in ("tcp", "udp", "sctp") for v in (4, 6)}


def _match(version: int, order: int) -> dict[str, Any]:
    """All that hosts of the inner network send out of port 0."""
    src = ("198.19.0.0", "198.19.0.255") if version == 4 else ("2001:db8:19::", "2001:db8:19::ffff")
    dst = ("0.0.0.0", "255.255.255.255") if version == 4 else ("::", "ffff:" * 7 + "ffff")
    ports = {"sport": (0, 65535), "dport": (0, 65535)}
    return {"src": src, "dst": dst, "iif": None, "oif": 0, "order": order} | ports


def _servers(number: int, weight: int) -> list[dict[str, Any]]:
    kind = SERVICES[number]
    net = "198.19.0.{}" if kind.pair[1] == "4" else "2001:db8:19::{:x}"
    made = []
    for i in range(kind.servers):
        server = {
            "id": number * SERVERS_EACH + i, "addr": net.format(11 + i), "mode": kind.mode,
            "port": 8080 if kind.mode == "nat" else kind.port, "weight": weight,
            "u_thresh": kind.more.get("u_thresh", 0), "l_thresh": 0, "server_id": bytes([i] * 3),
        }  # fmt: skip
        if kind.mode == "snat":
            pool = OUTSIDE[kind.version]
            server |= {"addr": LADDRS[pool][0], "pool": pool}
        made.append(server)
    return made


def service_record(number: int, weight: int = 1) -> dict[str, Any]:
    """The record that sets service ``number`` of SERVICES."""
    kind = SERVICES[number]
    first = FIRST_LADDR[int(kind.pair[1])]
    record: dict[str, Any] = {
        "id": number, "af": "inet" if kind.version == 4 else "inet6", "proto": kind.proto,
        "addr": VIPS[kind.version], "port": kind.port, "sched": "rr", "flags": [],
        "conn_timeout": 0, "proxy_protocol": "disable", "persistent": 0,
        "dests": _servers(number, weight),
        "laddrs": list(range(first, first + kind.laddrs)) if kind.mode == "fullnat" else [],
    }  # fmt: skip
    if kind.mode == "snat":
        any_address = "0.0.0.0" if kind.version == 4 else "::"
        record |= {"addr": any_address, "match": _match(kind.version, number)}
    return record | {name: value for name, value in kind.more.items() if name != "u_thresh"}
