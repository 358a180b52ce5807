"""ICMP errors about answers that went past us, from servers behind DR and tunnels with IPv6.

They come to the virtual address, and go to the server that sent the answer, as they came: it is
the server's path MTU discovery that lives by them.
"""

from __future__ import annotations

import functools

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether

from ipvs.dest import DestStats
from ipvs.entry import LIVE, Entry
from ipvs.table import Table, entry_of
from tests import oracle
from tests.audit import audit
from tests.ipvs.test_tunnel_split import whole
from tests.rig import Rig
from tests.topology import LAN_MAC, VIP, dest, service
from tests.topology6 import (
    CLIENT6,
    FROM_CLIENT,
    VIP6,
    dest6,
    error_frame,
    frame6,
    network6,
    service6,
    to_server,
)
from tests.topology64 import encapsulated

KINDS = ("dr", "6in6", "6in4", "4in6")
CLIENT4, ROUTER4, ROUTER6 = "203.0.113.7", "198.51.100.9", "2001:db8:abcd::1"


@functools.cache
def rig_of(kind, proto):
    rig = network6(Rig(), ipv4=True)
    mode = "dr" if kind == "dr" else "tunnel"
    server = (dest if kind == "6in4" else dest6)(0, mode=mode, port=80)
    if kind == "4in6":
        service(rig, [server], proto=proto, laddrs=[])
    else:
        service6(rig, [server], proto=proto, laddrs=[])
    return rig


def request(kind, proto, sport):
    layer = oracle.segment(proto, sport, 80, "S")
    if kind == "4in6":
        return oracle.frame(FROM_CLIENT, (CLIENT4, VIP), layer)
    return frame6(FROM_CLIENT, (CLIENT6, VIP6), layer)


def complaint(kind, proto, sport, size, mtu):
    """An error of a router near the client about the server's answer of ``size`` bytes."""
    layer = oracle.segment(proto, 80, sport, "A", bytes(size))
    if kind == "4in6":
        quoted = IP(src=VIP, dst=CLIENT4, flags="DF") / layer
        head = IP(src=ROUTER4, dst=VIP, ttl=60, id=7) / ICMP(type=3, code=4, nexthopmtu=mtu)
        return bytes(Ether(src=FROM_CLIENT[0], dst=FROM_CLIENT[1]) / head / bytes(quoted)[:548])
    quoted = bytes(IPv6(src=VIP6, dst=CLIENT6, hlim=60) / layer)[: 1280 - 48]
    kinds = (ICMPv6PacketTooBig(mtu=mtu), ICMPv6DestUnreach(code=1))
    return error_frame(FROM_CLIENT, (ROUTER6, VIP6), kinds[mtu == 0], quoted)


def forwarded(kind, frame, sent):
    if kind != "dr":
        return encapsulated(kind, frame, sent)
    macs = to_server()
    return bytes(Ether(src=macs[0], dst=macs[1], type=0x86DD)) + frame[14:]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize(("size", "mtu"), [(10, 1300), (1400, 1280), (60, 0)])
def test_rfc1191_rfc8201_the_server_learns_the_mtu_of_its_way_to_the_client(kind, proto, size, mtu):
    rig = rig_of(kind, proto)
    before = rig.drops()
    rig.exchange(0, request(kind, proto, 3000 + size))
    frame = complaint(kind, proto, 3000 + size, size, mtu)
    wan, lan = rig.exchange(0, frame)
    assert wan == [] and lan == [forwarded(kind, frame, lan[0])], rig.drops()
    assert rig.drops() == before and rig.in_flight() == 0 and audit(rig.address) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_no_sign_of_life(kind):
    """RFC 5508 REQ-6, RFC 5382 REQ-10: it is counted, but prolongs nothing."""
    rig = rig_of(kind, "udp")
    rig.exchange(0, request(kind, "udp", 5000))
    port = int.from_bytes((5000).to_bytes(2, "big"), "little")
    entries = (Entry(entry_of(rig.w.table, n)) for n in range(1, Table(rig.w.table).high + 1))
    entry = next(e for e in entries if e.live == LIVE and e.side[0].ports & 0xFFFF == port)
    entry.last = (entry.last - 5000) & 0xFFFFFFFF
    last, stats = entry.last, DestStats(rig.w.dest_stats)
    packets = stats.packets[0]
    _, lan = rig.exchange(0, complaint(kind, "udp", 5000, 100, 1280))
    assert len(lan) == 1 and entry.last == last and stats.packets[0] == packets + 1


@pytest.mark.parametrize("kind", KINDS[1:])
def test_errors_too_big_for_the_tunnel_go_through_in_fragments(kind):
    """Nobody is told of an error about an error."""
    rig = rig_of.__wrapped__(kind, "tcp")
    rig.exchange(0, request(kind, "tcp", 3000))
    mtu = 500 if kind == "4in6" else 1260 + (20 if kind == "6in4" else 40)
    rig.apply("dev.set", id=1, mac=LAN_MAC, mtu=mtu, up=True)
    frame = complaint(kind, "tcp", 3000, 1400, 1300)
    wan, lan = rig.exchange(0, frame)
    assert wan == [] and all(len(one) <= 14 + mtu for one in lan)
    assert whole(kind, frame, lan) and rig.drops() == {} and rig.in_flight() == 0
