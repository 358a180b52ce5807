"""Multicast groups that the ports must let in: neighbour discovery of our IPv6 addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

ALL_NODES = "33:33:00:00:00:01"


def group_mac(address: str) -> str:
    """MAC address of an address's solicited-node group (RFC 4291 2.7.1, RFC 2464 section 7)."""
    return "33:33:ff:" + ipaddress.IPv6Address(address).packed[13:].hex(":")


class Groups:
    """Follows the records of addresses; `join(dev, macs)` gets a port's whole list on a change."""

    def __init__(self, join: Callable[[int, Iterable[str]], None]) -> None:
        self._join = join
        self._addresses: dict[int, set[tuple[str, int]]] = {}
        self._joined: dict[int, list[str]] = {}

    def heard(self, kind: str, body: Mapping[str, Any]) -> None:
        """A record was published."""
        if kind not in ("addr.set", "addr.del") or ":" not in body["addr"]:
            return
        dev, addresses = body["dev"], self._addresses.setdefault(body["dev"], set())
        key = (body["addr"], body["plen"])
        if kind == "addr.set":
            addresses.add(key)
        else:
            addresses.discard(key)
        groups = sorted({group_mac(address) for address, _ in addresses})
        wanted = [ALL_NODES, *groups] if groups else []
        if wanted != self._joined.get(dev, []):
            self._joined[dev] = wanted
            self._join(dev, wanted)
