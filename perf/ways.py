"""Forwarding modes and families of addresses: the commands that set one up, and its oracle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from perf import network, network6, network64, network_snat
from perf.oracle import Oracle

# By mode: families of the clients' addresses, the usual one first.
FAMILIES = {
    "fullnat": (4, 6), "nat": (4, 6), "dr": (4, 6), "tunnel": (4,), "snat": (4, 6), "nat64": (6,),
}  # fmt: skip
MODES = tuple(FAMILIES)
ONE_WAY = ("dr", "tunnel")  # replies do not come through the balancer


def family_of(job: dict[str, Any]) -> int:
    """Family of the clients' addresses of a job that names its mode and perhaps the family."""
    return int(job.get("family") or FAMILIES[job["mode"]][0])


def families(mode: str, wanted: str) -> list[int]:
    """Families to measure a mode with; ``wanted`` is 4, 6 or both.  NAT64 has its clients' only."""
    if mode == "nat64":
        return [6]
    return [number for number in FAMILIES[mode] if wanted in (str(number), "both")]


def services_of(proto: str, family: int) -> list[network.Service]:
    """The one service of generated traffic."""
    return [(proto, network6.VIP if family == 6 else network.VIP, network.PORT)]


def title(mode: str, family: int) -> str:
    """The mode's name in a table."""
    return mode if family == FAMILIES[mode][0] else f"{mode} IPv{family}"


def commands(
    mode: str, family: int, services: Iterable[network.Service], connections: int
) -> list[str]:
    """The operator's commands, for up to so many connections."""
    if mode == "snat":
        return network_snat.commands(services, family, connections)
    if mode == "nat64":
        return network64.commands(services)
    if family == 6:
        return network6.commands(services, mode)
    return network.commands(services, mode)


def slots_for(connections: int, family: int) -> int:
    """Slots of a table for so many connections: an IPv6 one takes an even slot and the next."""
    return connections if family == 4 else 2 * connections + 1


def oracle(
    mode: str, family: int, services: Iterable[network.Service], mac: bytes, connections: int
) -> Oracle:
    """The oracle for what ``commands`` made."""
    numbers = network6 if family == 6 else network
    keys = {(numbers.number(address), port) for _, address, port in services}
    if mode == "nat64":
        return network64.Oracle64(mac, keys)
    if mode == "snat":
        outside = numbers.mac_of(network_snat.GATEWAY[family])
        servers = {address: outside for address, _ in keys}
        ours = {numbers.number(a) for a in network_snat.addresses(family, connections)}
        if family == 6:
            return network6.Oracle6(mode, mac, keys, servers=servers, locals=ours)
        return Oracle(mode, keys, mac, servers=servers, locals=ours)
    if family == 6:
        return network6.Oracle6(mode, mac, keys)
    return Oracle(mode, keys, mac)
