"""Match services: what selects their traffic, as requests, records and commands write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from .devices import DeviceTable
from .errors import Code, ControlError
from .fields import Fields
from .inettypes import parse_address

_RANGE = re.compile(r"\[?([^\[\]]+?)-([^\[\]-]+)\]?:(\d{1,5})-(\d{1,5})")
MAX_MATCHES = 256  # of a worker's list (ipvs/rules.py)
_LAST = IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses and ports, ends included. Addresses 0.0.0.0-0.0.0.0 and ports 0-0 mean any."""

    low: IPv4Address
    high: IPv4Address
    port_low: int
    port_high: int

    def __str__(self) -> str:
        return f"{self.low}-{self.high}:{self.port_low}-{self.port_high}"

    @property
    def addresses(self) -> tuple[str, str]:
        """The ends as workers compare them."""
        everything = int(self.low) == 0 and int(self.high) == 0
        return str(self.low), str(_LAST if everything else self.high)

    @property
    def ports(self) -> tuple[int, int]:
        """The ends as workers compare them."""
        return (self.port_low, self.port_high or 65535) if self.port_low == 0 else (
            self.port_low, self.port_high
        )  # fmt: skip


ANY = Range(IPv4Address(0), IPv4Address(0), 0, 0)


@dataclass(frozen=True, slots=True)
class MatchKey:
    """What identifies a match service; device names are those of existing devices."""

    proto: str
    src: Range
    dst: Range
    iif: str | None
    oif: str | None

    addr = IPv4Address(0)
    port = 0
    af = "inet"

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
            "src": None if self.src == ANY else str(self.src),
            "dst": None if self.dst == ANY else str(self.dst),
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
    if low.version != 4 or high.version != 4:
        raise ControlError(Code.NOTSUPP, "IPv6 match services are not supported yet")
    ports = int(found[3]), int(found[4])
    if int(low) > int(high) or not ports[0] <= ports[1] <= 65535:
        raise ValueError(text)
    return Range(IPv4Address(low), IPv4Address(high), *ports)


def read_match(fields: Fields, protocols: tuple[str, ...]) -> MatchKey:
    """Field match of a service key: af, proto, src, dst, iif, oif (all but proto may be null)."""
    match = fields.nested("match")
    if match.optional_choice("af", ("inet", "inet6")) == "inet6":
        raise ControlError(Code.NOTSUPP, "IPv6 match services are not supported yet")
    proto = match.optional_choice("proto", protocols)
    if proto is None:
        raise ControlError(Code.INVAL, "a match service needs a protocol (proto=tcp, udp or icmp)")
    ends = [
        ANY if match.optional_text(name) is None else match.parsed(
            name, _range, "a range such as 192.0.2.0-192.0.2.9:0-65535"
        )
        for name in ("src", "dst")
    ]  # fmt: skip
    key = MatchKey(
        proto, ends[0], ends[1], match.optional_text("iif", 15), match.optional_text("oif", 15)
    )
    match.done()
    if key == MatchKey(proto, ANY, ANY, None, None):
        raise ControlError(Code.INVAL, "the match is empty: give src, dst, iif or oif")
    if proto in ("icmp", "icmpv6") and any(end.port_low or end.port_high for end in ends):
        raise ControlError(Code.INVAL, f"{proto} has no ports to match")
    return key
