"""How ipvsadm writes services, servers and addresses."""

from collections.abc import Callable
from typing import Any

from tools.cli.ipvs_match import match_option, match_title
from tools.cli.literals import family_of, sort_value
from tools.cli.names import Names

SERVICE_WIDTH = 33
SERVER_WIDTH = 28

_TITLES = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP", "icmp": "ICMP", "icmpv6": "ICMPv6"}
_OPTIONS = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service", "icmp": "-q", "icmpv6": "-1"}
_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}

AddressPort = Callable[[str, int, str], str]
"""Writes an address and a port of a protocol."""


def address_port(names: Names, numeric: bool) -> AddressPort:
    """The writer for addresses with ports: as numbers, or as names where there are some."""

    def by_number(address: str, port: int, proto: str) -> str:
        shown = f"[{address}]" if family_of(address) == "inet6" else address
        return f"{shown}:{port}"

    def by_name(address: str, port: int, proto: str) -> str:
        host = names.host_of_address(address) or address
        shown = f"[{host}]" if family_of(address) == "inet6" else host
        return f"{shown}:{names.service_of_port(port, proto) or port}"

    return by_number if numeric else by_name


def service_title(service: dict[str, Any], write: AddressPort) -> str:
    """A service as the listing shows it; IPv4 names are cut to the width of their column."""
    if mark := service.get("fwmark"):
        return f"FWM  {mark} IPv6" if service.get("af") == "inet6" else f"FWM  {mark}"
    if match := service.get("match"):
        return match_title(match)
    address, proto = service["addr"], service["proto"]
    title = f"{_TITLES[proto]}  {write(address, service['port'], proto)}"
    return title if family_of(address) == "inet6" else title[:SERVICE_WIDTH]


def service_option(service: dict[str, Any], write: AddressPort) -> str:
    """A service as the options that select it."""
    if mark := service.get("fwmark"):
        return f"-f {mark} -6" if service.get("af") == "inet6" else f"-f {mark}"
    if match := service.get("match"):
        return match_option(match)
    proto = service["proto"]
    return f"{_OPTIONS[proto]} {write(service['addr'], service['port'], proto)}"


def service_proto(service: dict[str, Any]) -> str:
    """Protocol of a service, for looking up the names of its servers' ports."""
    return service.get("proto") or service.get("match", {}).get("proto") or "tcp"


def service_order(service: dict[str, Any]) -> tuple[Any, ...]:
    """Sort key of services: mark, family, protocol, address, port."""
    match = service.get("match") or {}
    address = service.get("addr")
    return (
        service.get("fwmark") or 0,
        (service.get("af") or match.get("af")) == "inet6",
        _NUMBERS.get(service_proto(service), 0),
        sort_value(address) if address else b"",
        service.get("port") or 0,
    )
