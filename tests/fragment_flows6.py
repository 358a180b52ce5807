"""IPv6 connections of every mode and protocol whose packets tests cut up; see fragment_flows.py."""

from __future__ import annotations

import itertools
from contextlib import contextmanager

from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from ipvs.datagrams import LIFE_MS, Datagrams
from tests import oracle
from tests.audit import audit
from tests.fragment_flows import numbers, text
from tests.fragments6 import fragment, packet_of
from tests.rig import Rig
from tests.topology6 import (
    FROM_CLIENT,
    SERVERS6,
    TO_CLIENT,
    VIP6,
    dest6,
    frame6,
    from_server,
    network6,
    rewritten6,
    service6,
    to_server,
)

WAN, LAN = 0, 1
SERVER = SERVERS6[0]
_clients = itertools.count(1024)


def rig_with_services6(**more):
    rig = network6(Rig(capacity=8192, **more))
    for (mode, proto), number in numbers().items():
        port = 80 + number if mode == "dr" else 8000 + number
        server = dest6(number, addr=SERVER, mode=mode, port=port)
        service6(rig, [server], id=number, port=80 + number, proto=proto)
    return rig


@contextmanager
def checked6():
    """The rig of one test; nothing waits or is lost behind it."""
    made = rig_with_services6()
    yield made
    for _ in range(3):
        made.at(made.stack.now + LIFE_MS, rounds=20)
    assert Datagrams(made.w.datagrams).waiting == 0 and made.in_flight() == 0
    assert audit(made.address) == []


class Flow6:
    """A connection: whole packets in either direction and what must come of them."""

    def __init__(self, rig, mode, proto):
        self.rig, self.mode, self.proto = rig, mode, proto
        number = numbers()[mode, proto]
        self.vport, self.port = 80 + number, 80 + number if mode == "dr" else 8000 + number
        self.client = f"2001:db8:7::{next(_clients):x}", 1000
        layer = oracle.segment(proto, 1000, self.vport, "S")
        out = rig.exchange(WAN, frame6(FROM_CLIENT, (self.client[0], VIP6), layer))[LAN]
        ip = Ether(out[0])[IPv6]
        self.local = ip.src, ip.payload.sport

    def whole(self, port, size=64, headers=(), **ip):
        """A packet arriving on ``port``, and the frame it would be on the other side."""
        fields = (1000, self.vport) if port == WAN else (self.port, self.local[1])
        layer = oracle.segment(self.proto, *fields, "A", text(size))
        for header in reversed(headers):
            layer = header / layer
        if port == WAN:
            frame = frame6(FROM_CLIENT, (self.client[0], VIP6), layer, **ip)
            target = (VIP6, self.vport) if self.mode == "dr" else (SERVER, self.port)
            return frame, rewritten6(frame, to_server(), self.local, target)
        frame = frame6(from_server(), (SERVER, self.local[0]), layer, **ip)
        return frame, rewritten6(frame, TO_CLIENT, (VIP6, self.vport), self.client)

    def part(self, begin, length, more=1, ident=9, port=WAN):
        """A fragment of a packet of the flow, at ``begin`` bytes with any content."""
        frame, _ = self.whole(port, 3000)
        body = packet_of(frame)[40:][begin : begin + length].ljust(length, b"x")
        return fragment(frame, 0, begin, body, more, ident)
