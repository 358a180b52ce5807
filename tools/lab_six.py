"""IPv6 beside IPv4 in the lab's two-arm network: the same hosts, one /64 on each side.

client 2001:db8:18:1::2 (lo), eth0 2001:db8:18::2     balancer 2001:db8:18::1
balancer 2001:db8:19::1, local addresses ::200 ...    real servers 2001:db8:19::11 ...
"""

from __future__ import annotations

from tools import lab_servers
from tools.lab_node import LabError, Node
from tools.lab_two_arm import TwoArm

CLIENT_HOST = "2001:db8:18:1::2"
CLIENT_LINK = "2001:db8:18::2"
CLIENT_BACK = "2001:db8:19::fe"
LB_WAN = "2001:db8:18::1"
LB_LAN = "2001:db8:19::1"
LOCAL = "2001:db8:19::200"
DECAP = "decap"
MODES = ("fullnat", "nat", "dr", "tunnel")


def local_addresses(count: int) -> list[str]:
    """FullNAT local addresses of the balancer, from LOCAL on (at most 50)."""
    if not 1 <= count <= 50:
        raise LabError(f"{count} local addresses: the lab's network has room for 1 to 50")
    return [f"2001:db8:19::{200 + index}" for index in range(count)]


def add_address(node: Node, address: str, plen: int, dev: str) -> None:
    """Without duplicate address detection, which would take a second."""
    node.ip("addr", "add", f"{address}/{plen}", "dev", dev, "nodad")


def begin(node: Node, *devices: str) -> None:
    """Let a node speak IPv6; no router advertisements, no addresses of their own making."""
    for device in ("all", "default", "lo", *devices):
        node.sysctl(f"net.ipv6.conf.{device}.accept_ra", "0")
        node.sysctl(f"net.ipv6.conf.{device}.accept_dad", "0")
        node.sysctl(f"net.ipv6.conf.{device}.disable_ipv6", "0")


class Six:
    """The IPv6 half of a two-arm network."""

    def __init__(self, network: TwoArm) -> None:
        self.lab = network.lab
        self.client = network.client
        self.servers = {
            f"2001:db8:19::{11 + index}": node
            for index, node in enumerate(network.servers.values())
        }
        begin(self.client, "eth0", "back")
        add_address(self.client, CLIENT_HOST, 128, "lo")
        add_address(self.client, CLIENT_LINK, 64, "eth0")
        add_address(self.client, CLIENT_BACK, 64, "back")
        for address, node in self.servers.items():
            begin(node, "eth0")
            add_address(node, address, 64, "eth0")

    def commands(self) -> list[str]:
        """What the operator says to the balancer about its IPv6 side."""
        return [
            f"dpip addr add {LB_WAN}/64 dev dpdk0",
            f"dpip addr add {LB_LAN}/64 dev dpdk1",
            f"dpip route add {CLIENT_HOST}/128 via {CLIENT_LINK} dev dpdk0",
        ]

    def virtual(self, vip: str) -> None:
        """Let the client reach a virtual address through the balancer."""
        via = ("via", LB_WAN, "dev", "eth0", "src", CLIENT_HOST)
        self.client.ip("-6", "route", "replace", f"{vip}/128", *via)

    def answer_by(self, mode: str, vip: str) -> None:
        """Give the real servers the addresses and routes that a forwarding mode asks for."""
        for server in self.servers.values():
            server.call("ip", "-6", "route", "del", "default")
            if mode == "nat":
                server.ip("-6", "route", "replace", "default", "via", LB_LAN)
            elif mode in ("dr", "tunnel"):
                add_address(server, vip, 128, "lo")
                server.ip("-6", "route", "replace", "default", "via", CLIENT_BACK)
            if mode == "tunnel":
                lab_servers.decapsulator(self.lab, server, DECAP)
                begin(server, DECAP)  # it may be older than the host's IPv6
