"""The network of ``namespaces``: the lab's two arms, and a host beside the balancer whose kernel
and proxies do the same work.

Both hang on the same two switches.  Each contender has a virtual address of its own, so nothing
changes between rounds, and all reach the same real servers from an address of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perf.errors import PerfError
from perf.namespaces_needs import stream_module
from tools import lab_two_arm as net
from tools.lab import Lab
from tools.lab_balancer import Balancer, setup_commands
from tools.lab_node import LabError, Node
from tools.lab_two_arm import TwoArm

KERNEL_WAN, KERNEL_LAN = "198.18.0.3", "198.19.0.3"
PORT = 80
TUNING = {
    "net.ipv4.ip_local_port_range": "1024 65535", "net.ipv4.tcp_tw_reuse": "1",
    "net.core.somaxconn": "4096", "net.ipv4.tcp_max_syn_backlog": "4096",
}  # fmt: skip

NGINX = """\
{module}daemon off;
master_process off;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 4096; }}
stream {{
    upstream servers {{
{servers}    }}
    server {{
        listen {vip}:80 backlog=4096;
        proxy_pass servers;
    }}
}}
"""

HAPROXY = """\
global
    nbthread 1
    maxconn 4096
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend service
    bind {vip}:80 backlog 4096
    default_backend servers
backend servers
    balance roundrobin
{servers}"""

NFTABLES = """\
table ip balancer {{
    chain incoming {{
        type nat hook prerouting priority dstnat;
        ip daddr {vip} tcp dport 80 dnat to numgen inc mod {count} map {{ {servers} }}
    }}
    chain outgoing {{
        type nat hook postrouting priority srcnat;
        oifname "lan" masquerade
    }}
}}
"""


@dataclass(frozen=True)
class Contender:
    """One way from the client to the real servers."""

    name: str
    address: str  # that the client asks
    sources: tuple[str, ...]  # addresses that the real servers see

    @property
    def url(self) -> str:
        """What is asked for."""
        return f"http://{self.address}:{PORT}/"


class Arena:
    """The network with all contenders that can run here.  Raises LabError."""

    def __init__(self, lab: Lab, absent: dict[str, str]) -> None:
        self.lab = lab
        self.network = TwoArm(lab)
        self.client = self.network.client
        self.servers = list(self.network.servers)
        self.contenders: list[Contender] = []
        self.absent = dict(absent)
        for node in (self.client, *self.network.servers.values()):
            tune(node)
        self._start("dpvs FullNAT", net.VIP, tuple(net.local_addresses(1)), self._dpvs)
        self.kernel = self._kernel()
        own = (KERNEL_LAN,)
        self._start("nginx stream", "192.0.2.101", own, self._nginx)
        self._start("HAProxy", "192.0.2.102", own, self._haproxy)
        self._start("nftables", "192.0.2.103", own, self._nftables)
        direct = Contender("none, one server", self.servers[0], (net.CLIENT_BACK,))
        self.contenders.append(direct)

    def _start(
        self, name: str, vip: str, sources: tuple[str, ...], start: Callable[[str], None]
    ) -> None:
        if name in self.absent:
            return
        if vip != net.VIP:
            self.kernel.address(f"{vip}/32", "lo")
            self.client.route(f"{vip}/32", "via", KERNEL_WAN, "dev", "eth0", "src", net.CLIENT_HOST)
        try:
            start(vip)
        except LabError as error:
            if vip == net.VIP:
                raise
            self.absent[name] = str(error)
            return
        self.contenders.append(Contender(name, vip, sources))

    def _kernel(self) -> Node:
        node = self.lab.node("kernel")
        for dev, address in (("wan", KERNEL_WAN), ("lan", KERNEL_LAN)):
            self.lab.cable(node, dev, self.network.lb, f"k{dev}")
            self.network.lb.plug(f"k{dev}", dev)
            node.address(f"{address}/{net.LINK_PLEN}", dev)
        node.route(f"{net.CLIENT_HOST}/32", "via", net.CLIENT_LINK, "dev", "wan")
        node.sysctl("net.ipv4.ip_forward", "1")
        tune(node)
        return node

    def _dpvs(self, vip: str) -> None:
        balancer = Balancer(self.network, workers=1)
        self.network.answer_by("fullnat")
        balancer.start()
        for line in setup_commands("fullnat", 1, self.servers):
            balancer.operate(line)

    def _listening(self, vip: str) -> Callable[[], bool]:
        return lambda: bool(self.kernel.run("ss", "-Hltn", "src", f"{vip}:{PORT}").strip())

    def _nginx(self, vip: str) -> None:
        home = self.lab.directory / "stream"
        home.mkdir()
        module = stream_module()
        text = NGINX.format(
            module=f"load_module {module};\n" if module else "", vip=vip,
            servers="".join(f"        server {address}:80;\n" for address in self.servers),
        )  # fmt: skip
        (home / "nginx.conf").write_text(text)
        argv = ["nginx", "-p", str(home), "-c", "nginx.conf", "-e", "error.log"]
        self.lab.spawn(self.kernel, argv, label="stream", ready=self._listening(vip))

    def _haproxy(self, vip: str) -> None:
        rows = (f"    server rs{i} {a}:80\n" for i, a in enumerate(self.servers, 1))
        path = self.lab.directory / "haproxy.cfg"
        path.write_text(HAPROXY.format(vip=vip, servers="".join(rows)))
        argv = ["haproxy", "-db", "-f", str(path)]
        self.lab.spawn(self.kernel, argv, label="haproxy", ready=self._listening(vip))

    def _nftables(self, vip: str) -> None:
        rows = ", ".join(f"{i} : {address}" for i, address in enumerate(self.servers))
        text = NFTABLES.format(vip=vip, count=len(self.servers), servers=rows)
        self.kernel.run("nft", "-f", "-", stdin=text)

    def check(self) -> None:
        """That each contender is on the way to all real servers.  Raises PerfError."""
        for contender in self.contenders:
            count = 4 * len(self.servers)
            done = self.client.call(
                "curl", "-sS", "--fail", "--max-time", "5", "-H", "Connection: close",
                f"{contender.url}?[1-{count}]",
            )  # fmt: skip
            answers = [line.split() for line in done.stdout.splitlines()]
            names = {words[0] for words in answers}
            seen = {words[1] for words in answers}
            right = 1 if contender.address in self.servers else len(self.servers)
            if done.returncode != 0 or len(answers) != count:
                raise PerfError(f"{contender.name}: {done.stderr.strip() or 'no answer'}")
            if len(names) != right or not seen <= set(contender.sources):
                raise PerfError(
                    f"{contender.name}: wrong way: {', '.join(sorted(names))} answered, "
                    f"asked by {', '.join(sorted(seen))}"
                )


def tune(node: Node) -> None:
    """Let a host open many connections."""
    for key, value in TUNING.items():
        node.sysctl(key, value)
