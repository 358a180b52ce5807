"""Match services: what selects their traffic, as requests, records and commands write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from .devices import DeviceTable
from .errors import Code, ControlError
from .fields import Fields
from .inettypes import Address, parse_address

_RANGE = re.compile(r"\[?([^\[\]]+?)-([^\[\]-]+)\]?:(\d{1,5})-(\d{1,5})")
MAX_MATCHES = 256  # of a worker's list (ipvs/rules.py)
_LAST = {4: IPv4Address((1 << 32) - 1), 6: IPv6Address((1 << 128) - 1)}
_NONE: dict[str, Address] = {"inet": IPv4Address(0), "inet6": IPv6Address(0)}


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses and ports, ends included. Addresses 0.0.0.0-0.0.0.0 or ::-::, ports 0-0: any."""

    low: Address
    high: Address
    port_low: int
    port_high: int

    def __str__(self) -> str:
        ends = f"{self.low}-{self.high}"
        if self.low.version == 6:
            ends = f"[{ends}]"
        return f"{ends}:{self.port_low}-{self.port_high}"

    @property
    def addresses(self) -> tuple[str, str]:
        """The ends as workers compare them."""
        everything = int(self.low) == 0 and int(self.high) == 0
        return str(self.low), str(_LAST[self.low.version] if everything else self.high)

    @property
    def ports(self) -> tuple[int, int]:
        """The ends as workers compare them."""
        return (self.port_low, self.port_high or 65535) if self.port_low == 0 else (
            self.port_low, self.port_high
        )  # fmt: skip


def anything(af: str) -> Range:
    """The range that every packet of a family is in."""
    return Range(_NONE[af], _NONE[af], 0, 0)


@dataclass(frozen=True, slots=True)
class MatchKey:
    """What identifies a match service; device names are those of existing devices."""

    proto: str
    src: Range
    dst: Range
    iif: str | None
    oif: str | None

    port = 0

    @property
    def af(self) -> str:
        """Family of the traffic."""
        return "inet" if self.src.low.version == 4 else "inet6"

    @property
    def addr(self) -> Address:
        """What stands for the address of a service."""
        return _NONE[self.af]

    def __str__(self) -> str:
        return f"match {self.option}"

    @property
    def option(self) -> str:
        """The value of option -H that selects it, every key written out."""
        return (
            f"proto={self.proto},src-range={self.src},dst-range={self.dst},"
            f"iif={self.iif or ''},oif={self.oif or ''}"
        )

    def map(self) -> dict[str, Any]:
        """As requests and replies carry it."""
        return {
            "af": self.af,
            "proto": self.proto,
            "src": None if self.src == anything(self.af) else str(self.src),
            "dst": None if self.dst == anything(self.af) else str(self.dst),
            "iif": self.iif,
            "oif": self.oif,
        }

    def record(self, devices: DeviceTable, order: int) -> dict[str, Any]:
        """As workers get it; `order` counts up with every match service added."""
        return {
            "src": self.src.addresses,
            "dst": self.dst.addresses,
            "sport": self.src.ports,
            "dport": self.dst.ports,
            "iif": None if self.iif is None else devices.named(self.iif).id,
            "oif": None if self.oif is None else devices.named(self.oif).id,
            "order": order,
        }


def _range(text: str) -> Range:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    low, high = parse_address(found[1]), parse_address(found[2])
    ports = int(found[3]), int(found[4])
    if low.version != high.version or int(low) > int(high) or not ports[0] <= ports[1] <= 65535:
        raise ValueError(text)
    return Range(low, high, *ports)


def read_match(fields: Fields, protocols: tuple[str, ...]) -> MatchKey:
    """Field match of a service key: af, proto, src, dst, iif, oif (all but proto may be null)."""
    match = fields.nested("match")
    af = match.optional_choice("af", ("inet", "inet6")) or "inet"
    proto = match.optional_choice("proto", protocols)
    if proto is None:
        raise ControlError(
            Code.INVAL, "a match service needs a protocol (proto=tcp, udp, sctp, icmp or icmpv6)"
        )
    ends = [
        anything(af) if match.optional_text(name) is None else match.parsed(
            name, _range, "a range such as 192.0.2.0-192.0.2.9:0-65535"
        )
        for name in ("src", "dst")
    ]  # fmt: skip
    key = MatchKey(
        proto, ends[0], ends[1], match.optional_text("iif", 15), match.optional_text("oif", 15)
    )
    match.done()
    if any(end.low.version != anything(af).low.version for end in ends):
        raise ControlError(Code.INVAL, f"a range of the other family in a match of af {af}")
    if key == MatchKey(proto, anything(af), anything(af), None, None):
        raise ControlError(Code.INVAL, "the match is empty: give src, dst, iif or oif")
    if proto in ("icmp", "icmpv6") and any(end.port_low or end.port_high for end in ends):
        raise ControlError(Code.INVAL, f"{proto} has no ports to match")
    if proto in ("icmp", "icmpv6") and (proto == "icmp") != (af == "inet"):
        raise ControlError(Code.INVAL, f"{proto} is not a protocol of af {af}")
    return key
