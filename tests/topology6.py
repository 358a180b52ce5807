"""An IPv6 network around a rig, like tests/topology.py, and the slow oracle's IPv6 half."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from tests import oracle
from tests.rig import Rig
from tests.topology import GATEWAY_MAC, LAN_MAC, SERVER_MACS, WAN_MAC, dest, network

VIP6 = "2001:db8:ff::100"
LOCAL6 = "2001:db8:2::200"
GATEWAY6 = "2001:db8:1::fe"
SERVERS6 = tuple(f"2001:db8:2::{11 + i:x}" for i in range(4))
CLIENT6 = "2001:db8:cafe::7"

FROM_CLIENT = (GATEWAY_MAC, WAN_MAC)
TO_CLIENT = (WAN_MAC, GATEWAY_MAC)


def from_server(index=0):
    """MACs (source, destination) of what a real server sends."""
    return (SERVER_MACS[index], LAN_MAC)


def to_server(index=0):
    return (LAN_MAC, SERVER_MACS[index])


def network6(rig, laddrs=(LOCAL6,), ipv4=False):
    """Addresses, routes and neighbours of both arms; local addresses get ids 0... (with ``ipv4``,
    from 1 on, behind the IPv4 network's)."""
    if ipv4:
        network(rig)
    rig.apply("route.set", dst="2001:db8:1::1", plen=128, kind="local", dev=0)
    rig.apply("route.set", dst="2001:db8:1::", plen=64, kind="link", dev=0, src="2001:db8:1::1")
    rig.apply("route.set", dst="2001:db8:2::1", plen=128, kind="local", dev=1)
    rig.apply("route.set", dst="2001:db8:2::", plen=64, kind="link", dev=1, src="2001:db8:2::1")
    rig.apply("route.set", dst="::", plen=0, kind="gateway", via=GATEWAY6, dev=0)
    rig.apply("route.set", dst=VIP6, plen=128, kind="local", dev=0)
    for number, address in enumerate(laddrs, 1 if ipv4 else 0):
        rig.apply("route.set", dst=address, plen=128, kind="local", dev=1)
        rig.apply("laddr.set", id=number, addr=address, dev=1)
    rig.apply("neigh.set", addr=GATEWAY6, dev=0, mac=GATEWAY_MAC, static=True)
    for address, mac in zip(SERVERS6, SERVER_MACS, strict=True):
        rig.apply("neigh.set", addr=address, dev=1, mac=mac, static=True)
    return rig


def dest6(number, **changes):
    """A real server's part of a service record; ``number`` chooses its address too."""
    made = {
        "id": number, "addr": SERVERS6[number % 4], "port": 8080, "mode": "fullnat", "weight": 1,
        "u_thresh": 0, "l_thresh": 0,
    }  # fmt: skip
    return made | changes


def service6(rig, dests, **changes):
    """Add or replace a virtual service (id 0, TCP port 80 of VIP6 unless changed)."""
    body = {
        "id": 0, "af": "inet6", "proto": "tcp", "addr": VIP6, "port": 80, "sched": "rr",
        "flags": [], "conn_timeout": 0, "persistent": 0, "dests": dests, "laddrs": [0],
    }  # fmt: skip
    rig.apply("svc.set", **(body | changes))


def balancer6(mode, proto="tcp", **options):
    """A rig in the networks of both families with one service over one real server, an IPv4 one
    if ``mode`` is nat64; its local addresses: IPv4 0, IPv6 1."""
    rig = network6(Rig(**options), ipv4=True)
    server = dest(0) if mode == "nat64" else dest6(0, mode=mode, port=80 if mode == "dr" else 8080)
    service6(rig, [server], proto=proto, laddrs=[0, 1])
    return rig


def frame6(macs, addresses, layer, **ip):
    """Bytes of an Ethernet frame; ``macs`` and ``addresses`` are (source, destination)."""
    made = Ether(src=macs[0], dst=macs[1]) / IPv6(src=addresses[0], dst=addresses[1], **ip) / layer
    return bytes(made)


def rewritten6(raw, macs, source, destination, step=0):
    """The frame ``raw`` with other MACs and tuple ((address, port) each), built anew.

    Bytes behind the end of the IPv6 packet are not part of the result.
    """
    ip = Ether(raw)[IPv6]
    ip = IPv6(bytes(ip)[: 40 + ip.plen])
    l4 = ip.getlayer(TCP) or ip.getlayer(UDP) or ip.getlayer(SCTP)
    l4.sport, l4.dport = source[1], destination[1]
    del l4.chksum
    ip.src, ip.dst, ip.hlim = source[0], destination[0], ip.hlim - step
    return bytes(Ether(src=macs[0], dst=macs[1]) / ip)


def conversation(rig, proto="tcp", sport=1000, payload=b""):
    """(client's frame, what the server got, the server's answer, what the client got)."""
    raw = frame6(FROM_CLIENT, (CLIENT6, VIP6), oracle.segment(proto, sport, 80, "S", payload))
    _, (out,) = rig.exchange(0, raw)
    got = Ether(out)
    kind, l4 = (IPv6 if IPv6 in got else IP), got[{"tcp": TCP, "udp": UDP, "sctp": SCTP}[proto]]
    layer = oracle.segment(proto, l4.dport, l4.sport, "SA", payload)
    ip = kind(src=got[kind].dst, dst=got[kind].src) / layer
    answer = bytes(Ether(src=from_server()[0], dst=from_server()[1]) / ip)
    (back,), _ = rig.exchange(1, answer)
    return raw, out, answer, back


def error_frame(macs, ends, error, quoted):
    """An ICMPv6 error with MACs and (source, destination)."""
    head = IPv6(src=ends[0], dst=ends[1], hlim=60) / error / Raw(quoted)
    return bytes(Ether(src=macs[0], dst=macs[1]) / head)
