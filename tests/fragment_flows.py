"""Connections of every mode and protocol whose packets tests cut up, and what must come of them."""

from __future__ import annotations

import functools
import itertools
from contextlib import contextmanager

from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from ipvs.datagrams import LIFE_MS, SETS, WAYS, Datagrams
from tests import oracle
from tests.fragments import headed, packet_of
from tests.pathrig import (
    CLIENT,
    CLIENT_MAC,
    LAN,
    MACS,
    VIP,
    WAN,
    Rig,
    from_client,
    from_server,
    server,
    server_mac,
)

PROTOS = ("tcp", "udp", "sctp")
WAYS_OF = [("fullnat", WAN), ("fullnat", LAN), ("nat", WAN), ("nat", LAN), ("dr", WAN)]
_ports = itertools.count(1024)
_ids = itertools.count(1)


def text(size):
    return bytes(i * 7 + (i >> 8) & 255 for i in range(size))


def content(size):
    return Raw(text(size))


@functools.cache
def numbers():
    return {way: n for n, way in enumerate(itertools.product(("fullnat", "nat", "dr"), PROTOS))}


def rig_with_services(**more):
    rig = Rig(static=True, **more)
    for (mode, proto), number in numbers().items():
        port = 80 + number if mode == "dr" else 8000 + number
        rig.service(number, mode, proto, port=80 + number, dests=[{"id": number, "port": port}])
    return rig


@contextmanager
def checked():
    """The rig of one test; nothing waits or is lost behind it."""
    rig = rig_with_services()
    yield rig
    rig.sleep(3 * LIFE_MS)
    assert rig.waiting() == 0 and rig.clean()


def held(rig):
    """How many datagrams the rig remembers."""
    table = Datagrams(rig.w.datagrams)
    return sum(1 for i in range(SETS * WAYS) if table.datagram[i].state)


class Flow:
    """A connection: whole packets in either direction and what must come of them."""

    def __init__(self, rig, mode, proto, number=None):
        self.rig, self.mode, self.proto = rig, mode, proto
        number = numbers()[mode, proto] if number is None else number
        self.vport, self.cport = 80 + number, next(_ports)
        frame = from_client(oracle.segment(proto, self.cport, self.vport, "S"))
        out = Ether(rig.exchange(WAN, frame)[LAN][0])
        self.local, self.sport, self.dport = out[IP].src, out.sport, out.dport

    def whole(self, port, size=64, **ip):
        """A packet arriving on ``port``, and the frame it would be on the other side."""
        ip.setdefault("id", next(_ids) & 0xFFFF)
        if port == WAN:
            layer = oracle.segment(self.proto, self.cport, self.vport, "A", text(size))
            frame = from_client(layer, **ip)
            ends = (self.local, self.sport), (server(0), self.dport)
            if self.mode == "dr":
                ends = (CLIENT, self.cport), (VIP, self.vport)
            macs = MACS[LAN], server_mac(0)
        else:
            layer = oracle.segment(self.proto, self.dport, self.sport, "A", text(size))
            frame = from_server(layer, dst=self.local, **ip)
            ends, macs = ((VIP, self.vport), (CLIENT, self.cport)), (MACS[WAN], CLIENT_MAC)
        frame = bytes(frame)
        return frame, oracle.rewritten(frame, macs, *ends)


def part(flow, begin, length, more=1, proto=17, ident=9):
    """A fragment of a packet of the flow, at ``begin`` bytes with any content."""
    frame, _ = flow.whole(WAN, 3000, id=ident)
    packet = packet_of(frame)
    body = packet[20:][begin : begin + length].ljust(length, b"x")
    return frame[:14] + headed(packet[:20], body, more << 13 | begin // 8)
