"""The slow oracle between the families, NAT64 (RFC 7915) and tunnels, worked out by scapy."""

from __future__ import annotations

import struct

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from tests import oracle
from tests.topology import LAN_MAC, LOCAL, SERVER_MACS, SERVERS
from tests.topology6 import SERVERS6, TO_CLIENT, VIP6, to_server

SERVER, SERVER_MAC = SERVERS[0], SERVER_MACS[0]
FROM_SERVER = (SERVER_MAC, LAN_MAC)


def l4_of(ip):
    return ip.getlayer(TCP) or ip.getlayer(UDP) or ip.getlayer(SCTP)


def as_ipv4(raw, out, step=0, index=0):
    """What RFC 7915 5.1 makes of a client's frame for real server ``index``; identification and
    port as in ``out``."""
    old = Ether(raw)[IPv6]
    got = Ether(out)[IP]
    l4 = l4_of(IPv6(bytes(old)[: 40 + old.plen])).copy()
    l4.sport, l4.dport = l4_of(got).sport, 8080
    del l4.chksum
    size = 20 + len(bytes(l4))
    ip = IP(
        src=LOCAL, dst=SERVERS[index], tos=old.tc, ttl=old.hlim - step, id=got.id,
        flags="DF" if size > 1260 else "", proto=6 if TCP in old else 17 if UDP in old else 132,
    )  # fmt: skip
    macs = to_server(index)
    return bytes(Ether(src=macs[0], dst=macs[1]) / ip / l4)


def as_ipv6(raw, client, step=0):
    """What RFC 7915 section 4.1 makes of a real server's frame."""
    old = IP(bytes(Ether(raw)[IP])[: Ether(raw)[IP].len])
    l4 = old.payload.copy()
    l4.sport, l4.dport = 80, client[1]
    del l4.chksum
    ip = IPv6(src=VIP6, dst=client[0], tc=old.tos, fl=0, hlim=old.ttl - step, nh=old.proto)
    return bytes(Ether(src=TO_CLIENT[0], dst=TO_CLIENT[1]) / ip / l4)


def answer(out, proto, payload=b"", l4=None, **ip):
    """The server's answer to the packet it got."""
    got = l4_of(Ether(out)[IP])
    layer = oracle.segment(proto, 8080, got.sport, "SA", payload, **(l4 or {}))
    return oracle.frame(FROM_SERVER, (SERVER, LOCAL), layer, **ip)


def encapsulated(kind, raw, out, index=0):
    """The frame that must leave for real server ``index``; the id of an outer IPv4 header is taken
    as sent."""
    inner = raw[14:]
    if kind == "4in6":
        outer = IPv6(src="2001:db8:2::1", dst=SERVERS6[index], tc=inner[1], hlim=inner[8], nh=4)
    else:
        six = IPv6(inner)
        traffic = {"tc": six.tc, "fl": six.fl, "hlim": six.hlim}
        outer = IPv6(src="2001:db8:2::1", dst=SERVERS6[index], nh=41, **traffic)
        if kind == "6in4":
            outer = IP(
                src="198.19.0.1", dst=SERVERS[index], proto=41, tos=six.tc, ttl=six.hlim,
                id=struct.unpack_from(">H", out, 18)[0], flags="DF" if len(inner) > 1240 else "",
            )  # fmt: skip
    macs = to_server(index)
    return bytes(Ether(src=macs[0], dst=macs[1]) / outer / Raw(inner))
