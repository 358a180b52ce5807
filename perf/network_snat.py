"""SNAT in the benchmarks' network: the clients stand inside, the service is a host outside.

The traffic is that of the other modes.  What goes to the service's address leaves for it, from an
address and a port of ours, by another router than the clients are behind.
"""

from __future__ import annotations

from collections.abc import Iterable

from ipvs.laddr import PORTS_OF_ONE
from perf import network, network6

GATEWAY = {4: "198.19.0.253", 6: "2001:db8:2::fd"}  # towards the hosts outside
LEAST, MOST = 16, 1000


def addresses(family: int, connections: int) -> tuple[str, ...]:
    """Our addresses with ports for so many connections to one outside host."""
    count = min(max(LEAST, -(-connections // PORTS_OF_ONE) + 1), MOST)
    if family == 6:
        return tuple(f"2001:db8:5a::{n:x}" for n in range(1, count + 1))
    return tuple(f"198.19.{4 + n // 250}.{1 + n % 250}" for n in range(count))


def commands(services: Iterable[network.Service], family: int, connections: int) -> list[str]:
    """The operator's commands: one match service an outside host, with all addresses of ours."""
    device, gateway = network.DEVICE, GATEWAY[family]
    six = family == 6
    lines = network6.links() if six else network.links()
    mac = (network6 if six else network).mac_of(gateway).hex(":")
    lines.append(f"dpip neigh add {gateway} lladdr {mac} dev {device}")
    ours = addresses(family, connections)
    plen = 128 if six else 32
    lines += [f"dpip addr add {address}/{plen} dev {device} sapool" for address in ours]
    hosts = dict.fromkeys((proto, address) for proto, address, _ in services)
    for address in dict.fromkeys(address for _, address in hosts):
        lines.append(f"dpip{' -6' * six} route add {address}/{plen} via {gateway} dev {device}")
    for proto, address in hosts:
        span = f"[{address}-{address}]" if six else f"{address}-{address}"
        rule = f"-H proto={proto},dst-range={span},oif={device}"
        lines.append(f"ipvsadm -A {rule} -s rr")
        for outside in ours:
            end = f"[{outside}]:0" if six else f"{outside}:0"
            lines.append(f"ipvsadm -a {rule} -r {end} -J -w 1")
    return lines
