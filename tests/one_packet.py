"""A one-packet service over two real servers in every mode and family, and what must leave."""

from __future__ import annotations

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.dest import STATS_SIZE, DestStats
from tests import oracle
from tests.rig import Rig
from tests.topology import LAN_MAC, LOCAL, SERVER_MACS, SERVERS, VIP, dest, service
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    LOCAL6,
    SERVERS6,
    VIP6,
    dest6,
    frame6,
    network6,
    rewritten6,
    service6,
    to_server,
)
from tests.topology64 import as_ipv4, encapsulated

KINDS4 = ("fullnat4", "nat4", "dr4", "4in4", "4in6")  # of an IPv4 service
KINDS6 = ("fullnat", "nat", "dr", "nat64", "6in6", "6in4")
CLIENT = "203.0.113.7"
SPORT = 1234


def mode_of(kind):
    """The forwarding mode of its real servers."""
    return "tunnel" if "in" in kind else {"nat64": "fullnat"}.get(kind, kind.rstrip("4"))


def one_packet(kind, rig=None, **changes):
    """A rig with the service; its local addresses: IPv4 0, IPv6 1."""
    rig = network6(rig or Rig(), ipv4=True)
    mode = mode_of(kind)
    inside = dest if kind in ("nat64", "6in4") or kind in KINDS4[:4] else dest6
    port = 80 if mode in ("tunnel", "dr") else 8080
    dests = [inside(i, mode=mode, port=port) for i in range(2)]
    options = {"dests": dests, "proto": "udp", "flags": ["ops"], "laddrs": [0, 1]} | changes
    (service if kind in KINDS4 else service6)(rig, **options)
    return rig


def question(kind, payload=b"question", **ip):
    """A client's frame."""
    layer = UDP(sport=SPORT, dport=80) / Raw(payload)
    if kind in KINDS4:
        return oracle.frame(FROM_CLIENT, (CLIENT, VIP), layer, **ip)
    return frame6(FROM_CLIENT, (CLIENT6, VIP6), layer, **ip)


def _in_ipv4(frame, sent, index):
    """RFC 2003: the identification is the balancer's to choose."""
    inner = frame[14:]
    flags = inner[6] >> 6 & 1
    outer = IP(
        src="198.19.0.1", dst=SERVERS[index], proto=4, ttl=inner[8], tos=inner[1],
        id=int.from_bytes(sent[18:20], "big"), flags="DF" if flags else "",
    )  # fmt: skip
    return bytes(Ether(src=LAN_MAC, dst=SERVER_MACS[index]) / outer / Raw(inner))


def expected(kind, frame, sent, index):
    """What must leave for server ``index``; ids and the local port are as in ``sent``."""
    if kind == "4in4":
        return _in_ipv4(frame, sent, index)
    if kind == "nat64":
        return as_ipv4(frame, sent, index=index)
    if "in" in kind:
        return encapsulated(kind, frame, sent, index)
    four = kind in KINDS4
    port = Ether(sent)[UDP].sport if "fullnat" in kind else SPORT
    client, local = (CLIENT, LOCAL) if four else (CLIENT6, LOCAL6)
    source = (local if "fullnat" in kind else client, port)
    target = ((SERVERS if four else SERVERS6)[index], 8080)
    if mode_of(kind) == "dr":
        target = (VIP if four else VIP6, 80)
    return (oracle.rewritten if four else rewritten6)(frame, to_server(index), source, target)


def server_of(sent):
    """Number of the real server that a frame went to."""
    return SERVER_MACS.index(sent[:6].hex(":"))


def statistics(rig, index):
    """(connections, packets to it, active, inactive) of a real server."""
    stats = DestStats(rig.w.dest_stats + index * STATS_SIZE)
    return stats.conns, stats.packets[0], stats.active, stats.inactive
