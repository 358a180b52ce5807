"""What the fuzzed worker is configured with, and the changes made to it while packets flow."""

from __future__ import annotations

import ipaddress
import random
from typing import Any

from tools.fuzz_frames import MACS
from tools.fuzz_frames6 import LINK
from tools.fuzz_rig import FuzzRig
from tools.fuzz_services import LADDRS, SERVICES, VIPS, service_record

NARROW = (3, 12)  # hosts of the networks that take small packets only


def routes() -> list[dict[str, Any]]:
    """Routes of the fuzzed worker."""
    local = [("198.18.0.1", 0), (VIPS[4], 0), ("198.19.0.1", 1)]
    local += [row for row in LADDRS if ":" not in row[0]]
    rows = [{"dst": a, "plen": 32, "kind": "local", "dev": dev} for a, dev in local]
    for dev in range(2):
        net = f"198.{18 + dev}.0"
        way: dict[str, Any] = {"kind": "link", "dev": dev, "src": f"{net}.1"}
        rows.append(way | {"dst": f"{net}.0", "plen": 24})
        rows.append(way | {"dst": f"{net}.{NARROW[dev]}", "plen": 32, "mtu": 600})
    gateway = {"dst": "203.0.113.0", "plen": 24, "kind": "gateway", "dev": 0}
    return [*rows, gateway | {"via": "198.18.0.254"}, *routes6()]


def routes6() -> list[dict[str, Any]]:
    """The same for IPv6."""
    local = [("2001:db8:18::1", 0), (VIPS[6], 0), ("2001:db8:19::1", 1)]
    local += [row for row in LADDRS if ":" in row[0]]
    rows = [{"dst": a, "plen": 128, "kind": "local", "dev": dev} for a, dev in local]
    for dev in range(2):
        net = f"2001:db8:{18 + dev}::"
        way: dict[str, Any] = {"kind": "link", "dev": dev, "src": f"{net}1"}
        rows.append(way | {"dst": net, "plen": 64})
        rows.append(way | {"dst": f"{net}{NARROW[dev]:x}", "plen": 128, "mtu": 1280})
    gateway = {"dst": "2001:db8:9::", "plen": 48, "kind": "gateway", "dev": 0}
    return [*rows, gateway | {"via": "2001:db8:18::fe"}]


def configure(rig: FuzzRig) -> None:
    """Addresses, routes, services and a few neighbours."""
    restore(rig)
    for number, (address, dev) in enumerate(LADDRS):
        rig.applier.apply("laddr.set", {"id": number, "addr": address, "dev": dev})
    for number in range(len(SERVICES)):
        rig.applier.apply("svc.set", service_record(number))
    tells = {"toa": 1, "new_isn": 1, "uoa_packets": 2}  # from the start: changes come rarely
    rig.applier.apply("param.set", {"neigh_queue": 32} | tells)
    for dev, last in ((0, 2), (1, 11), (1, 12)):
        settle(rig, dev, last)


def settle(rig: FuzzRig, dev: int, last: int, static: bool = False) -> None:
    """Make a host a known neighbour, by both of its addresses."""
    mac = f"02:{'ab'[dev] * 2}:00:00:00:{last:02x}"
    for address in (f"198.{18 + dev}.0.{last}", f"2001:db8:{18 + dev}::{last:x}"):
        body = {"addr": address, "dev": dev, "mac": mac, "static": static}
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
