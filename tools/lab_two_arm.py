"""The lab's standard network: a balancer with two arms between one client and real servers.

    client                        lb                              rs1 rs2 rs3
    198.18.1.2 (lo)               wan switch: lbwan = port dpdk0
    eth0 198.18.0.2/24 ---------- wan                             eth0 198.19.0.11/24 ...
                                  lan switch: lblan = port dpdk1
    back 198.19.0.254/24 -------- lan --------------------------- eth0

The balancer process runs inside the namespace `lb`: its tap ports come up there as lbwan and
lblan, and each is plugged into the switch of its side. The client asks from 198.18.1.2, a network
behind its link, so the balancer needs a route back to it. It reaches the virtual address by the
balancer's address on the link.

One network serves all forwarding modes; they differ in the way of the real servers' answers:
- FullNAT: the servers see local addresses of the balancer on their own link; they need no route.
- NAT: they see the client's address, so their default route is the balancer (198.19.0.1).
- DR: they own the virtual address (on lo, never announced by ARP) and answer around the
  balancer, over the client's second interface.
- Tunnel: the same, and they unpack what comes to their own address inside another IP header.
"""

from __future__ import annotations

from tools import lab_servers
from tools.lab import Lab
from tools.lab_node import LabError, Node

CLIENT_HOST = "198.18.1.2"
CLIENT_LINK = "198.18.0.2"
CLIENT_BACK = "198.19.0.254"
LB_WAN = "198.18.0.1"
LB_LAN = "198.19.0.1"
VIP = "192.0.2.100"
LINK_PLEN = 24
WAN_TAP = "lbwan"
LAN_TAP = "lblan"
MODES = ("fullnat", "nat", "dr", "tunnel")


def local_addresses(count: int) -> list[str]:
    """FullNAT local addresses of the balancer, from 198.19.0.200 on (at most 50)."""
    if not 1 <= count <= 50:
        raise LabError(f"{count} local addresses: the lab's network has room for 1 to 50")
    return [f"198.19.0.{200 + index}" for index in range(count)]


class TwoArm:
    """The network above, built in `lab`, with nginx on port 80 of each real server."""

    def __init__(self, lab: Lab, servers: int = 3) -> None:
        if not 1 <= servers <= 100:
            raise LabError(f"{servers} real servers: the lab's network has room for 1 to 100")
        self.lab = lab
        self.lb = lab.node("lb")
        self.lb.bridge("wan")
        self.lb.bridge("lan")
        self.client = self._client()
        self.servers: dict[str, Node] = {}  # by address
        for index in range(servers):
            address = f"198.19.0.{11 + index}"
            self.servers[address] = self._server(f"rs{index + 1}", address)

    def _client(self) -> Node:
        client = self.lab.node("client")
        self.lab.cable(client, "eth0", self.lb, "client")
        self.lab.cable(client, "back", self.lb, "back")
        self.lb.plug("client", "wan")
        self.lb.plug("back", "lan")
        client.address(f"{CLIENT_HOST}/32", "lo")
        client.address(f"{CLIENT_LINK}/{LINK_PLEN}", "eth0")
        client.address(f"{CLIENT_BACK}/{LINK_PLEN}", "back")
        client.route(f"{VIP}/32", "via", LB_WAN, "dev", "eth0", "src", CLIENT_HOST)
        return client

    def _server(self, name: str, address: str) -> Node:
        server = self.lab.node(name)
        self.lab.cable(server, "eth0", self.lb, name)
        self.lb.plug(name, "lan")
        # A host with the virtual address on lo must neither answer ARP for it nor ask with it.
        server.sysctl("net.ipv4.conf.all.arp_ignore", "1")
        server.sysctl("net.ipv4.conf.all.arp_announce", "2")
        server.address(f"{address}/{LINK_PLEN}", "eth0")
        lab_servers.nginx(self.lab, server)
        return server

    def plug_taps(self) -> None:
        """Plug the balancer's tap ports in; call it once the balancer has started."""
        for tap, bridge in ((WAN_TAP, "wan"), (LAN_TAP, "lan")):
            if not self.lb.has(tap):
                raise LabError(f"the balancer made no tap interface {tap} in {self.lb.netns}")
            self.lab.tap_arrived(self.lb, tap, bridge=bridge)

    def answer_by(self, mode: str) -> None:
        """Give the real servers the addresses and routes that forwarding `mode` asks for."""
        if mode not in MODES:
            raise LabError(f"unknown forwarding mode '{mode}': one of {', '.join(MODES)}")
        for server in self.servers.values():
            server.call("ip", "addr", "del", f"{VIP}/32", "dev", "lo")
            server.call("ip", "route", "del", "default")
            if mode == "nat":
                server.route("default", "via", LB_LAN)
            elif mode in ("dr", "tunnel"):
                server.address(f"{VIP}/32", "lo")
                server.route("default", "via", CLIENT_BACK)
            if mode == "tunnel":
                lab_servers.decapsulator(self.lab, server)
