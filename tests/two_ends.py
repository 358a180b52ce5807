"""A TCP connection with both of its ends, in every mode in which replies come back through us.

Segments are built and expected by scapy, from what each end itself sees of the connection.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from ipvs.entry import Entry
from ipvs.table import entry_of
from tests.rig import MACS, Rig
from tests.topology import GATEWAY_MAC, LOCAL, SERVER_MACS, SERVERS, VIP, dest, network, service
from tests.topology6 import CLIENT6, LOCAL6, SERVERS6, VIP6, dest6, network6, service6

WAN, LAN = 0, 1
CLIENT, OUTSIDE, OUTSIDE6 = "203.0.113.7", "198.18.0.99", "2001:db8:1::99"
KINDS = ("fullnat", "nat", "snat", "fullnat6", "nat6", "snat6", "nat64")
MASK = 0xFFFFFFFF
START = 1_000_000


@dataclass
class End:
    """A host: where it is, what it is called, whom it believes to talk with, how it counts."""

    port: int
    mac: str
    name: tuple[str, int]
    peer: tuple[str, int]
    isn: int  # of its own; the first number of the other as it is seen here is ``heard``
    heard: int = 0

    def _frame(self, macs, source, target, tcp, **ipv4):
        (src, sport), (dst, dport) = source, target
        ip = IPv6(src=src, dst=dst) if ":" in src else IP(src=src, dst=dst, ttl=64, **ipv4)
        return bytes(Ether(src=macs[0], dst=macs[1]) / ip / TCP(sport=sport, dport=dport, **tcp))

    def sends(self, flags, seq=0, ack=0):
        """What arrives at us when it sends a segment."""
        tcp = {"flags": flags, "seq": seq & MASK, "ack": ack & MASK}
        return self._frame((self.mac, MACS[self.port]), self.name, self.peer, tcp)

    def gets(self, flags, seq=0, ack=0):
        """The frame in which we tell it something of our own."""
        tcp = {"flags": flags, "seq": seq & MASK, "ack": ack & MASK, "window": 0}
        macs = (MACS[self.port], self.mac)
        return self._frame(macs, self.peer, self.name, tcp, id=0, flags="DF")


def match_service(rig, six):
    """SNAT of everything that comes from the lan."""
    span = ("::", "ffff:" * 7 + "ffff") if six else ("0.0.0.0", "255.255.255.255")
    match = {"src": span, "dst": span, "sport": (0, 65535), "dport": (0, 65535)}
    match |= {"iif": LAN, "oif": None, "order": 0}
    addr, set_service = (OUTSIDE6, service6) if six else (OUTSIDE, service)
    rig.apply("route.set", dst=addr, plen=128 if six else 32, kind="local", dev=WAN)
    rig.apply("laddr.set", id=8, addr=addr, dev=WAN)
    one = (dest6 if six else dest)(0, addr=addr, port=0, mode="snat", pool=8)
    set_service(rig, [one], addr="::" if six else "0.0.0.0", port=0, match=match, laddrs=[])


class Connection:
    """One connection of ``kind`` through a worker with its service; ``client`` opens it."""

    def __init__(self, kind, rig=None, isn=1000, server_isn=500_000, new_isn=1, **changes):
        self.kind, six = kind, kind in ("fullnat6", "nat6", "snat6", "nat64")
        self.rig = rig or Rig(now=START, capacity=64)
        # Whatever a buffer held before must not show in what is sent.
        ctypes.memset(self.rig.pool.memory, 0xEE, ctypes.sizeof(self.rig.pool.memory))
        network6(self.rig, ipv4=True) if six else network(self.rig)
        self.rig.w.toa, self.rig.w.new_isn = 0, new_isn
        if kind.startswith("snat"):
            match_service(self.rig, six)
            inside, far = (SERVERS6[0], CLIENT6) if six else (SERVERS[0], CLIENT)
            self.client = End(LAN, SERVER_MACS[0], (inside, 4000), (far, 80), isn)
            self.server = End(WAN, GATEWAY_MAC, (far, 80), ("", 0), server_isn)
            return
        mode = "nat" if kind.startswith("nat") and kind != "nat64" else "fullnat"
        number = {"fullnat6": [1], "nat64": [0]}.get(kind, [0])
        made = (dest6 if kind in ("fullnat6", "nat6") else dest)(0, mode=mode)
        (service6 if six else service)(self.rig, [made], **({"laddrs": number} | changes))
        vip, client = (VIP6, CLIENT6) if six else (VIP, CLIENT)
        server = SERVERS6[0] if kind in ("fullnat6", "nat6") else SERVERS[0]
        self.client = End(WAN, GATEWAY_MAC, (client, 4000), (vip, 80), isn)
        self.server = End(LAN, SERVER_MACS[0], (server, 8080), ("", 0), server_isn)

    @property
    def ends(self):
        return self.client, self.server

    @property
    def entry(self):
        """The connection's entry: the only one in the table."""
        six = self.kind[-1] in "46"
        return Entry(entry_of(self.rig.w.table, 3 if six else 1))

    def say(self, end, *args):
        """An end sends a segment; what (client, server) get."""
        self.rig.push(end.port, end.sends(*args))
        return self.at()

    def at(self, ms=0):
        """Let ``ms`` pass; what (client, server) get."""
        sent = self.rig.at(self.rig.stack.now + ms)
        return sent[self.client.port], sent[self.server.port]

    def open(self):
        """Three segments, after which both ends are ESTABLISHED."""
        client, server = self.ends
        _, (syn,) = self.say(client, "S", client.isn)
        seen = Ether(syn)[TCP]
        ip = Ether(syn)[IPv6 if ":" in server.name[0] else IP]
        server.peer, server.heard = (ip.src, seen.sport), seen.seq
        (answer,), _ = self.say(server, "SA", server.isn, seen.seq + 1)
        client.heard = Ether(answer)[TCP].seq
        assert (Ether(answer)[TCP].ack - client.isn) & MASK == 1
        self.say(client, "A", client.isn + 1, client.heard + 1)
        return self

    def expire(self, seconds=90):
        """Let the idle time pass, in steps as the wheel is used to; what (client, server) get."""
        for _ in range(seconds - 1):
            assert self.at(1000) == ([], [])
        for _ in range(9):
            sent = self.at(250)
            if sent != ([], []) or self.rig.applier.connections() == 0:
                return sent
        raise AssertionError("it does not expire")


__all__ = ["KINDS", "LOCAL", "LOCAL6", "Connection"]
