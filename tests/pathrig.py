"""A rig with a network around it, a clock that the test moves, and its books checked.

Wan is 198.18.0.0/24 with a client and a router, lan 198.19.0.0/24 with real servers.
"""

from __future__ import annotations

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from ipvs.datagrams import Datagrams
from stack.neigh import NeighbourTable
from tests import rig
from tests.audit import audit
from tests.rig import MACS

START = 1_000_000  # ms
WAN, LAN = 0, 1
WAN_ADDR, LAN_ADDR, LADDR, VIP = "198.18.0.1", "198.19.0.1", "198.19.0.200", "192.0.2.100"
CLIENT, CLIENT_MAC = "198.18.0.2", "02:aa:00:00:00:02"
ROUTER, ROUTER_MAC = "198.18.0.254", "02:aa:00:00:00:fe"
FAR = "203.0.113.9"  # a client behind the router
OUTSIDE = "198.18.0.9"  # what the outside sees of hosts behind SNAT


def server(index):
    """Address of real server ``index``."""
    return f"198.19.0.{11 + index}"


def server_mac(index):
    return f"02:bb:00:00:00:{11 + index:02x}"


class Rig(rig.Rig):
    """A rig whose clock (``now``, ms) is the test's, with network and neighbours set up."""

    def __init__(self, *args, now=START, network=True, neighbours=True, static=False, **more):
        super().__init__(*args, now=now & 0xFFFFFFFF, **more)
        self.now = now
        if network:
            self.network()
        if neighbours:
            for address, dev, mac in (
                (CLIENT, WAN, CLIENT_MAC),
                (ROUTER, WAN, ROUTER_MAC),
                *((server(i), LAN, server_mac(i)) for i in range(4)),
            ):
                self.apply("neigh.set", addr=address, dev=dev, mac=mac, static=static)

    def network(self):
        for address, dev in ((WAN_ADDR, WAN), (LAN_ADDR, LAN), (LADDR, LAN), (VIP, WAN)):
            self.route(f"{address}/32", kind="local", dev=dev)
        self.route("198.18.0.0/24", kind="link", dev=WAN, src=WAN_ADDR)
        self.route("198.19.0.0/24", kind="link", dev=LAN, src=LAN_ADDR)
        self.route("0.0.0.0/0", kind="gateway", dev=WAN, via=ROUTER)

    def route(self, prefix, **more):
        dst, plen = prefix.split("/")
        self.apply("route.set", dst=dst, plen=int(plen), **more)

    def laddr(self, number=0, addr=LADDR, dev=LAN):
        self.apply("laddr.set", id=number, addr=addr, dev=dev)

    def service(
        self, number=0, mode="fullnat", proto="tcp", addr=VIP, port=80, sched="rr", dests=1,
        laddrs=(0,), flags=(), conn_timeout=0, persistent=0, extra=(), **more,
    ):  # fmt: skip
        """``dests``: a number of real servers, or a list of dictionaries that differ from them.

        ``extra``: further fields of the record.
        """
        if isinstance(dests, int):
            dests = [{} for _ in range(dests)]
        if mode == "fullnat" and laddrs and not self.applier.pool_memory:
            self.laddr()
        self.apply(
            "svc.set", id=number, af="inet", proto=proto, addr=addr, port=port, sched=sched,
            flags=list(flags), conn_timeout=conn_timeout, persistent=persistent,
            laddrs=list(laddrs),
            dests=[
                {
                    "id": i, "addr": server(i), "mode": mode,
                    "port": port if mode in ("dr", "tunnel") else 8000 + i,
                    "weight": 1, "u_thresh": 0, "l_thresh": 0, **dest,
                }
                for i, dest in enumerate(dests)
            ],
            **dict(extra), **more,
        )  # fmt: skip

    def snat(self, number=0, proto="tcp", outside=(OUTSIDE,), order=0, dest=0, flags=(), **match):
        """A match service whose real servers are ``outside`` addresses (pools from id 8 on)."""
        for i, addr in enumerate(outside):
            if 8 + i not in self.applier.pool_memory:
                self.route(f"{addr}/32", kind="local", dev=WAN)
                self.laddr(8 + i, addr, WAN)
        anything = {"src": ("0.0.0.0", "255.255.255.255"), "dst": ("0.0.0.0", "255.255.255.255")}
        anything |= {"sport": (0, 65535), "dport": (0, 65535), "iif": LAN, "oif": None}
        self.apply(
            "svc.set", id=number, af="inet", proto=proto, addr="0.0.0.0", port=0, sched="rr",
            flags=list(flags), conn_timeout=0, persistent=0, laddrs=[],
            match=anything | {"order": order} | match,
            dests=[
                {
                    "id": dest + i, "addr": addr, "port": 0, "mode": "snat", "weight": 1,
                    "u_thresh": 0, "l_thresh": 0, "pool": 8 + i,
                }
                for i, addr in enumerate(outside)
            ],
        )  # fmt: skip

    def run(self, rounds=1):
        """Go round at the rig's time; returns what each port sent."""
        return self.at(self.now, rounds)

    def after(self, ms, rounds=1):
        """Let ``ms`` pass, then run."""
        self.now += ms
        return self.run(rounds)

    def sleep(self, ms, step=200):
        """Let time pass in steps, as it does; returns everything that was sent meanwhile."""
        sent = [[], []]
        while ms > 0:
            for all_, new in zip(sent, self.after(min(step, ms)), strict=True):
                all_.extend(new)
            ms -= step
        return sent

    def connections(self):
        return self.applier.connections()

    def waiting(self):
        """Packets that wait for a neighbour or for the first fragment of their datagram."""
        held = Datagrams(self.w.datagrams).waiting
        return NeighbourTable(self.stack.neighbours).waiting + held

    def complete(self):
        """No buffer is lost or was given back twice: holds at any moment."""
        assert self.in_flight() == self.waiting()
        assert len(set(self.pool.free)) == len(self.pool.free)
        return True

    def clean(self):
        """What must hold after every test: no buffer lost, all tables consistent."""
        assert audit(self.address) == []
        return self.complete()


def from_client(l4, src=CLIENT, dst=VIP, mac=CLIENT_MAC, to=MACS[0], **ip):
    """A frame from the wan side."""
    return Ether(dst=to, src=mac) / IP(src=src, dst=dst, **ip) / l4


def from_server(l4, index=0, dst=LADDR, mac=None, **ip):
    """A frame from real server ``index``."""
    return (
        Ether(dst=MACS[1], src=mac or server_mac(index)) / IP(src=server(index), dst=dst, **ip) / l4
    )


def syn(sport=1234, dport=80, **more):
    return from_client(TCP(sport=sport, dport=dport, flags="S"), **more)


def arp(op, sender, mac, target, port, to="ff:ff:ff:ff:ff:ff"):
    """An ARP frame arriving on ``port``."""
    return Ether(dst=to if to else MACS[port], src=mac) / ARP(
        op=op, hwsrc=mac, psrc=sender, hwdst="00:00:00:00:00:00", pdst=target
    )


__all__ = ["MACS", "TCP", "UDP", "Ether", "Rig", "arp", "from_client", "from_server", "syn"]
