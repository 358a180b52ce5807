"""A balancer with SNAT: what inside hosts and their peers send, and what must leave for it."""

from __future__ import annotations

import struct

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests import oracle
from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    FAR,
    LAN,
    MACS,
    OUTSIDE,
    ROUTER_MAC,
    WAN,
    Rig,
    server,
    server_mac,
)
from tests.wire import tuple_of

PROTOS = ("tcp", "udp", "icmp", "sctp")
SECOND = "198.18.0.10"  # another outside address


def snat_rig(protos=PROTOS, **options):
    rig = Rig(static=True, **options)
    for number, proto in enumerate(protos):
        rig.snat(number, proto, dest=number)
    return rig


def layer(proto, sport, dport, flags="S", payload=b""):
    if proto == "icmp":
        return ICMP(type=8, id=sport, seq=dport) / Raw(payload)
    return oracle.segment(proto, sport, dport, flags, payload)


def from_inside(l4, host=0, dst=FAR, **ip):
    return Ether(src=server_mac(host), dst=MACS[LAN]) / IP(src=server(host), dst=dst, **ip) / l4


def from_outside(l4, src=FAR, dst=OUTSIDE, **ip):
    return Ether(src=ROUTER_MAC, dst=MACS[WAN]) / IP(src=src, dst=dst, **ip) / l4


def number_of(frame):
    """The port, or echo identifier, that a sent frame has for the inside host."""
    l4 = 14 + (frame[14] & 15) * 4
    return struct.unpack_from(">H", frame, l4 + (4 if frame[23] == 1 else 0))[0]


def translated(frame, macs, src, dst, sport=None, dport=None, ident=None, ttl_step=0):
    """What must leave for ``frame``: scapy computes every checksum of it anew."""
    old = IP(bytes(frame)[14:])
    old = IP(bytes(old)[: old.len])
    old.src, old.dst, old.ttl = src, dst, old.ttl - ttl_step
    del old.chksum
    l4 = old.payload
    if ident is not None:
        l4.id = ident
    else:
        l4.sport, l4.dport = sport, dport
    if not (isinstance(l4, UDP) and l4.chksum == 0):
        del l4.chksum
    return bytes(Ether(src=macs[0], dst=macs[1]) / old)


def go_out(rig, proto, sport, dst=FAR, dport=443, host=0, payload=b"", check=True, **ip):
    """An inside host sends; the frame that left is exactly right. Returns its number."""
    frame = from_inside(layer(proto, sport, dport, payload=payload), host, dst, **ip)
    wan, lan = rig.exchange(LAN, frame)
    assert lan == [] and len(wan) == 1, rig.drops()
    number = number_of(wan[0])
    source = tuple_of(wan[0]).src
    mac = CLIENT_MAC if dst == CLIENT else ROUTER_MAC
    if check:
        tuple_ = {"ident": number} if proto == "icmp" else {"sport": number, "dport": dport}
        wanted = translated(frame, (MACS[WAN], mac), source, dst, **tuple_)
        assert wan == [wanted] and source in (OUTSIDE, SECOND)
    return number


def come_back(rig, proto, number, sport, src=FAR, dport=443, host=0, payload=b"", **ip):
    """The outside host answers; the frame that reaches the inside host is exactly right."""
    if proto == "icmp":
        l4, tuple_ = ICMP(type=0, id=number, seq=dport) / Raw(payload), {"ident": sport}
    else:
        l4 = layer(proto, dport, number, "SA", payload)
        tuple_ = {"sport": dport, "dport": sport}
    frame = from_outside(l4, src, **ip)
    wan, lan = rig.exchange(WAN, frame)
    wanted = translated(frame, (MACS[LAN], server_mac(host)), src, server(host), **tuple_)
    assert (wan, lan) == ([], [wanted]), rig.drops()


def snat_record(number, addr, pool, order=0, **more):
    anything = ("0.0.0.0", "255.255.255.255")
    return {
        "id": number, "af": "inet", "proto": "tcp", "addr": "0.0.0.0", "port": 0, "sched": "rr",
        "flags": [], "conn_timeout": 0, "persistent": 0, "laddrs": [],
        "match": {"src": anything, "dst": anything, "sport": (0, 65535), "dport": (0, 65535),
                  "iif": None, "oif": None, "order": order},
        "dests": [{"id": 4, "addr": addr, "port": 0, "mode": "snat", "weight": 1, "pool": pool}],
    } | more  # fmt: skip
