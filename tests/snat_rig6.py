"""A balancer with SNAT of IPv6, like tests/snat_rig.py."""

from __future__ import annotations

import struct

from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from tests import oracle
from tests.rig import Rig
from tests.topology6 import (
    FROM_CLIENT,
    SERVERS6,
    TO_CLIENT,
    dest6,
    frame6,
    from_server,
    network6,
    service6,
    to_server,
)

WAN, LAN = 0, 1
FAR, OUTSIDE = "2001:db8:9::7", "2001:db8:1::99"
PROTOS = ("tcp", "udp", "icmpv6", "sctp")
EVERYTHING = ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")


def rule(rig, number=0, proto="tcp", order=0, **match):
    """A match service whose only real server is the outside address."""
    ranges = {"src": EVERYTHING, "dst": EVERYTHING, "sport": (0, 65535), "dport": (0, 65535)}
    match = ranges | {"iif": LAN, "oif": None, "order": order} | match
    server = dest6(number, addr=OUTSIDE, port=0, mode="snat", pool=8)
    service6(rig, [server], id=number, proto=proto, addr="::", port=0, match=match, laddrs=[])


def outside(rig, addr=OUTSIDE):
    rig.apply("route.set", dst=addr, plen=128, kind="local", dev=WAN)
    rig.apply("laddr.set", id=8, addr=addr, dev=WAN)
    return rig


def snat_rig(protos=PROTOS, **options):
    rig = outside(network6(Rig(now=1_000_000, **options)))
    for number, proto in enumerate(protos):
        rule(rig, number, proto)
    return rig


def layer(proto, sport, dport, flags="S", payload=b""):
    if proto == "icmpv6":
        return ICMPv6EchoRequest(id=sport, seq=dport) / Raw(payload)
    return oracle.segment(proto, sport, dport, flags, payload)


def number_of(frame):
    """The port, or echo identifier, that a sent frame has for the inside host."""
    return struct.unpack_from(">H", frame, 54 + (4 if frame[20] == 58 else 0))[0]


def translated(frame, macs, src, dst, step=0, **fields):
    """What must leave for ``frame``: scapy computes the checksum of it anew."""
    ip = Ether(bytes(frame))[IPv6]
    ip = IPv6(bytes(ip)[: 40 + ip.plen])
    ip.src, ip.dst, ip.hlim = src, dst, ip.hlim - step
    l4 = ip
    while not isinstance(l4, (TCP, UDP, SCTP, ICMPv6EchoRequest, ICMPv6EchoReply)):
        l4 = l4.payload
    for name, value in fields.items():
        setattr(l4, name, value)
    if isinstance(l4, (TCP, UDP, SCTP)):
        del l4.chksum
    else:
        del l4.cksum
    return bytes(Ether(src=macs[0], dst=macs[1]) / ip)


def go_out(rig, proto, sport, dst=FAR, dport=443, host=0, payload=b"", header=None, step=0, **ip):
    """An inside host sends; the frame that left is exactly right.  Returns its number."""
    l4 = layer(proto, sport, dport, payload=payload)
    l4 = header / l4 if header is not None else l4
    frame = frame6(from_server(host), (SERVERS6[host], dst), l4, **ip)
    wan, lan = rig.at_once(LAN, frame)
    assert lan == [] and len(wan) == 1, rig.drops()
    at = wan[0] if header is None else wan[0][:20] + wan[0][54:55] + wan[0][21:54] + wan[0][62:]
    number = number_of(at)
    fields = {"id": number} if proto == "icmpv6" else {"sport": number}
    assert wan == [translated(frame, TO_CLIENT, OUTSIDE, dst, step, **fields)]
    return number


def come_back(rig, proto, number, sport, src=FAR, dport=443, host=0, payload=b"", step=0, **ip):
    """The outside host answers; the frame that reaches the inside host is exactly right."""
    if proto == "icmpv6":
        l4, fields = ICMPv6EchoReply(id=number, seq=dport) / Raw(payload), {"id": sport}
    else:
        l4, fields = layer(proto, dport, number, "SA", payload), {"dport": sport}
    frame = frame6(FROM_CLIENT, (src, OUTSIDE), l4, **ip)
    wan, lan = rig.at_once(WAN, frame)
    wanted = translated(frame, to_server(host), src, SERVERS6[host], step, **fields)
    assert (wan, lan) == ([], [wanted]), rig.drops()
