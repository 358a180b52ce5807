"""What the fuzzed worker is configured with, and the changes made to it while packets flow."""

from __future__ import annotations

import ipaddress
import random
from typing import Any

from tools.fuzz_frames import MACS
from tools.fuzz_frames6 import LINK
from tools.fuzz_rig import FuzzRig

VIP = "192.0.2.100"
VIP6 = "2001:db8:100::100"
NET, NET6 = "198.19.0.{}", "2001:db8:19::{:x}"  # real servers
LADDRS = ("198.19.0.200", "198.19.0.201")
# number, protocol, port, forwarding mode, real servers, local addresses, more fields (addr: the
# virtual address if not VIP, net: that of the real servers if not NET)
SERVICES: tuple[tuple[int, str, int, str, int, list[int], dict[str, Any]], ...] = (
    (0, "tcp", 80, "fullnat", 3, [0, 1], {}),
    (1, "tcp", 81, "nat", 2, [], {"sched": "wrr", "conn_timeout": 2}),
    (2, "tcp", 82, "dr", 2, [], {"sched": "wlc"}),
    (3, "tcp", 83, "fullnat", 0, [0], {}),
    (4, "tcp", 84, "fullnat", 2, [], {}),
    (5, "tcp", 85, "fullnat", 2, [1], {"u_thresh": 20, "conn_timeout": 2}),
    (6, "tcp", 86, "fullnat", 3, [0], {"flags": ["expire_quiescent"]}),
    (7, "udp", 53, "fullnat", 3, [0, 1], {"conn_timeout": 5}),
    (8, "udp", 54, "nat", 2, [], {"persistent": 2}),
    (9, "tcp", 87, "fullnat", 2, [0], {"proxy_protocol": "v1-insecure"}),
    (10, "udp", 55, "fullnat", 2, [1], {"proxy_protocol": "v2"}),
    (11, "udp", 0, "fullnat", 2, [0], {"persistent": 2}),
    (12, "tcp", 88, "tunnel", 2, [], {}),
    (13, "udp", 56, "tunnel", 2, [], {"net": NET6}),
    (14, "udp", 56, "tunnel", 2, [], {"addr": VIP6, "net": NET6}),
    (15, "tcp", 88, "tunnel", 2, [], {"addr": VIP6}),
)


def service_record(number: int, weight: int = 1) -> dict[str, Any]:
    """The record that sets service ``number`` of SERVICES."""
    _, proto, port, mode, servers, laddrs, more = SERVICES[number]
    dests = [
        {
            "id": number * 4 + i,
            "addr": more.get("net", NET).format(11 + i),
            "port": 8080 if mode == "nat" else port,
            "mode": mode,
            "weight": weight,
            "u_thresh": more.get("u_thresh", 0),
            "l_thresh": 0,
        }
        for i in range(servers)
    ]
    return {
        "id": number,
        "af": "inet6" if "addr" in more else "inet",
        "proto": proto,
        "addr": more.get("addr", VIP),
        "port": port,
        "sched": more.get("sched", "rr"),
        "flags": more.get("flags", []),
        "conn_timeout": more.get("conn_timeout", 0),
        "proxy_protocol": more.get("proxy_protocol", "disable"),
        "persistent": more.get("persistent", 0),
        "dests": dests,
        "laddrs": laddrs,
    }


def routes() -> list[dict[str, Any]]:
    """Routes of the fuzzed worker."""
    local = [("198.18.0.1", 0), (VIP, 0), ("198.19.0.1", 1), *((a, 1) for a in LADDRS)]
    rows = [{"dst": a, "plen": 32, "kind": "local", "dev": dev} for a, dev in local]
    for dev in range(2):
        net = f"198.{18 + dev}.0"
        rows.append(
            {"dst": f"{net}.0", "plen": 24, "kind": "link", "dev": dev, "src": f"{net}.1"},
        )
    gateway = {"dst": "203.0.113.0", "plen": 24, "kind": "gateway", "dev": 0}
    return [*rows, gateway | {"via": "198.18.0.254"}, *routes6()]


def routes6() -> list[dict[str, Any]]:
    """The same for IPv6."""
    local = [("2001:db8:18::1", 0), (VIP6, 0), ("2001:db8:19::1", 1)]
    rows = [{"dst": a, "plen": 128, "kind": "local", "dev": dev} for a, dev in local]
    for dev in range(2):
        net = f"2001:db8:{18 + dev}::"
        rows.append({"dst": net, "plen": 64, "kind": "link", "dev": dev, "src": f"{net}1"})
    gateway = {"dst": "2001:db8:9::", "plen": 48, "kind": "gateway", "dev": 0}
    return [*rows, gateway | {"via": "2001:db8:18::fe"}]


def configure(rig: FuzzRig) -> None:
    """Addresses, routes, services and a few neighbours."""
    restore(rig)
    for number, address in enumerate(LADDRS):
        rig.applier.apply("laddr.set", {"id": number, "addr": address, "dev": 1})
    for entry in SERVICES:
        rig.applier.apply("svc.set", service_record(entry[0]))
    rig.applier.apply("param.set", {"neigh_queue": 32})
    for dev, last in ((0, 2), (1, 11), (1, 12)):
        settle(rig, dev, last)


def settle(rig: FuzzRig, dev: int, last: int, static: bool = False) -> None:
    """Make a host a known neighbour, by both its addresses."""
    mac = f"02:{'ab'[dev] * 2}:00:00:00:{last:02x}"
    for addr in (f"198.{18 + dev}.0.{last}", f"2001:db8:{18 + dev}::{last:x}"):
        body = {"addr": addr, "dev": dev, "mac": mac, "static": static}
        rig.applier.apply("neigh.set", body)


def restore(rig: FuzzRig) -> None:
    """Undo what ``disturb`` did: routes, ports and settings as they were at the start."""
    for dev in range(2):
        address = str(ipaddress.IPv6Address(LINK[dev]))
        rig.applier.apply("addr.set", {"addr": address, "plen": 64, "dev": dev, "check": True})
    for row in routes():
        rig.applier.apply("route.set", row)
    for port in rig.ports:
        body = {"id": port.index, "mac": MACS[port.index].hex(":"), "mtu": 1500, "up": True}
        rig.applier.apply("dev.set", body)
        port.refuse = 0
    rig.applier.apply(
        "param.set", {"forwarding": 1, "forwarding6": 1, "disable6": 0, "xmit_ttl": 0}
    )


def disturb(rig: FuzzRig, rng: random.Random) -> None:
    """One change by the operator: a service, a route, a neighbour, a port or a setting.

    Half of the calls restore instead, so that packets get through most of the time.
    """
    if rng.random() < 0.5:
        restore(rig)
        return
    apply, kind = rig.applier.apply, rng.randrange(12)
    number = rng.randrange(len(SERVICES))
    dev, last = rng.randrange(2), rng.choice((2, 11, 12, 254))
    if kind == 0:
        apply("svc.set", service_record(number, weight=rng.choice((0, 1, 5))))
    elif kind == 1:
        apply("svc.del", {"id": number})
    elif kind in (2, 3):
        apply("svc.set", service_record(number))
    elif kind == 4:
        row = rng.choice(routes())
        apply("route.del", {"dst": row["dst"], "plen": row["plen"], "dev": row["dev"]})
    elif kind in (5, 6, 7):
        apply("neigh.del", {"addr": f"198.{18 + dev}.0.{last}", "dev": dev})
        apply("neigh.del", {"addr": f"2001:db8:{18 + dev}::{last:x}", "dev": dev})
    elif kind == 8:
        settle(rig, dev, last, static=rng.random() < 0.1)
    elif kind == 9:
        up, mtu = rng.random() < 0.8, rng.choice((1500, 1500, 600))
        apply("dev.set", {"id": dev, "mac": MACS[dev].hex(":"), "mtu": mtu, "up": up})
    elif kind == 10:
        apply("param.set", {"forwarding": rng.choice((0, 1, 1)), "xmit_ttl": rng.randrange(2)})
        apply("param.set", {"forwarding6": rng.choice((0, 1)), "disable6": rng.choice((0, 0, 1))})
        tells = {name: rng.randrange(2) for name in ("toa", "new_isn", "uoa_in_ip")}
        apply("param.set", tells | {"uoa_packets": rng.randrange(4)})
    else:
        rig.ports[dev].refuse = rng.choice((0, 0, 0, 5, 64))
