"""Which IP versions stand outside and inside of a balancer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """IP version of clients and virtual addresses, and that of real servers."""

    name: str
    outside: int
    inside: int

    def __str__(self) -> str:
        return self.name


IPV4 = Family("ipv4", 4, 4)
IPV6 = Family("ipv6", 6, 6)
NAT64 = Family("nat64", 6, 4)
FAMILIES = (IPV4, IPV6, NAT64)
SIX_IN_FOUR = Family("6in4", 6, 4)  # tunnels only
FOUR_IN_SIX = Family("4in6", 4, 6)


def endpoint(address: str, port: int) -> str:
    """Address and port as commands and URLs have them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
