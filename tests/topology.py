"""A small network around a rig: addresses, neighbours and services that most tests use.

Clients are behind a gateway on the wan (port 0), real servers on the lan (port 1).
"""

from __future__ import annotations

from tests.rig import MACS

VIP = "192.0.2.100"
LOCAL = "198.19.0.200"
GATEWAY = "198.18.0.254"
GATEWAY_MAC = "02:aa:00:00:00:fe"
SERVERS = tuple(f"198.19.0.{11 + i}" for i in range(4))
SERVER_MACS = tuple(f"02:bb:00:00:00:{11 + i:02x}" for i in range(4))
WAN_MAC, LAN_MAC = MACS


def network(rig, laddrs=(LOCAL,)):
    """Addresses, routes and neighbours of the two-arm network; local addresses get ids 0..."""
    rig.apply("route.set", dst="198.18.0.1", plen=32, kind="local", dev=0)
    rig.apply("route.set", dst="198.18.0.0", plen=24, kind="link", dev=0, src="198.18.0.1")
    rig.apply("route.set", dst="198.19.0.1", plen=32, kind="local", dev=1)
    rig.apply("route.set", dst="198.19.0.0", plen=24, kind="link", dev=1, src="198.19.0.1")
    rig.apply("route.set", dst="0.0.0.0", plen=0, kind="gateway", via=GATEWAY, dev=0)
    rig.apply("route.set", dst=VIP, plen=32, kind="local", dev=0)
    for number, address in enumerate(laddrs):
        rig.apply("route.set", dst=address, plen=32, kind="local", dev=1)
        rig.apply("laddr.set", id=number, addr=address, dev=1)
    rig.apply("neigh.set", addr=GATEWAY, dev=0, mac=GATEWAY_MAC, static=True)
    for address, mac in zip(SERVERS, SERVER_MACS, strict=True):
        rig.apply("neigh.set", addr=address, dev=1, mac=mac, static=True)
    return rig


def dest(number, **changes):
    """A real server's part of a service record; ``number`` chooses its address too."""
    made = {
        "id": number, "addr": SERVERS[number % 4], "port": 8080, "mode": "fullnat", "weight": 1,
        "u_thresh": 0, "l_thresh": 0,
    }  # fmt: skip
    return made | changes


def service(rig, dests, **changes):
    """Add or replace a virtual service (id 0, TCP port 80 of VIP unless changed)."""
    body = {
        "id": 0, "af": "inet", "proto": "tcp", "addr": VIP, "port": 80, "sched": "rr",
        "flags": [], "conn_timeout": 0, "persistent": 0, "dests": dests, "laddrs": [0],
    }  # fmt: skip
    rig.apply("svc.set", **(body | changes))
