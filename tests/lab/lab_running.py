"""A balancer that runs for a whole test module, and what tests ask of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lab_asking import Asking
from lab_family import IPV4, Family, endpoint

from tools import client, lab_servers, lab_six
from tools import lab_two_arm as net
from tools.lab import Lab
from tools.lab_balancer import Balancer, program
from tools.lab_node import LabError, Node, call
from tools.lab_six import Six
from tools.lab_two_arm import TwoArm

CLIENT = str(Path(__file__).with_name("lab_client.py"))
SERVICES = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}
LETTERS = {"fullnat": "b", "nat": "m", "dr": "g", "tunnel": "i"}
ECHO = 7  # TCP and UDP port of the echo servers
_numbers = itertools.count(1)


class Running:
    """A started balancer in the two-arm network, with addresses and routes but no service.

    Every service gets a virtual address of its own (``new_vip``), so that connections of one test
    are never taken for those of another.
    """

    def __init__(self, lab: Lab, workers: int, edit: Callable[[str], str] | None) -> None:
        self.lab = lab
        self.network = TwoArm(lab)
        self.client = self.network.client
        self.servers = self.network.servers
        self.workers = workers
        self.balancer = Balancer(self.network, workers=workers)
        if edit is not None:
            path = self.balancer.config
            path.write_text(edit(path.read_text()))
        self.name = self.balancer.name
        self._six: Six | None = None
        self._vips = {
            4: (f"192.0.2.{number}" for number in range(1, 100)),
            6: (f"2001:db8:80::{number:x}" for number in range(1, 100)),
        }
        self.control = client.ControlClient(client.socket_path(self.name, {}))

    def start(self) -> None:
        """Start the daemon and give it addresses and routes."""
        self.balancer.start()
        for line in (
            f"dpip addr add {net.LB_WAN}/{net.LINK_PLEN} dev dpdk0",
            f"dpip addr add {net.LB_LAN}/{net.LINK_PLEN} dev dpdk1",
            f"dpip route add default via {net.CLIENT_LINK} dev dpdk0",
        ):
            self.op(line)

    @property
    def six(self) -> Six:
        """The IPv6 half of the network, there from its first use on."""
        if self._six is None:
            self._six = Six(self.network)
            for line in self._six.commands():
                self.op(line)
        return self._six

    def echo_servers(self) -> None:
        """Run the echo server on port ECHO of every real server."""
        for server in self.servers.values():
            lab_servers.echo(self.lab, server, tcp=ECHO, udp=ECHO)

    # What an operator does

    def op(self, line: str) -> str:
        """Run an operator's command; its output.  Raises LabError when it fails."""
        return self.balancer.operate(line)

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an operator's command, whatever its exit status."""
        argv = [program(words[0]), *words[1:]]
        return call(argv, env=self.balancer.environment)

    def new_vip(self, mode: str, version: int = 4) -> str:
        """A virtual address that no test used, with the real servers set up for ``mode``."""
        vip = next(self._vips[version])
        if version == 6:
            self.six.virtual(vip)
            self.six.answer_by(mode, vip)
            self.op(f"dpip addr add {vip}/128 dev dpdk0")
            return vip
        self.op(f"dpip addr add {vip}/32 dev dpdk0")
        self.client.route(f"{vip}/32", "via", net.LB_WAN, "dev", "eth0", "src", net.CLIENT_HOST)
        self.network.answer_by(mode)
        if mode in ("dr", "tunnel"):
            for server in self.servers.values():
                server.address(f"{vip}/32", "lo")
        return vip

    def service(
        self,
        mode: str = "fullnat",
        port: int = 80,
        *,
        proto: str = "tcp",
        family: Family = IPV4,
        sched: str = "rr",
        weights: Sequence[int] | None = None,
        to: int | None = None,
        laddrs: int | None = None,
        options: str = "",
    ) -> str:
        """A virtual service over all real servers (of ``weights``: so many); its address."""
        vip = self.new_vip(mode, family.outside)
        servers = self.servers if family.inside == 4 else self.six.servers
        name = f"{SERVICES[proto]} {endpoint(vip, port)}"
        self.op(f"ipvsadm -A {name} -s {sched} {options}")
        for server, weight in zip(servers, weights or [1] * len(servers), strict=False):
            to_server = f"-r {endpoint(server, to or port)} -{LETTERS[mode]}"
            self.op(f"ipvsadm -a {name} {to_server} -w {weight}")
        if mode == "fullnat":
            addresses = net.local_addresses if family.inside == 4 else lab_six.local_addresses
            for address in addresses(laddrs or self.workers):
                self.op(f"ipvsadm -P {name} -z {address} -F dpdk1")
        return vip

    # What clients see

    def curl(self, url: str, count: int = 1) -> list[str]:
        """Bodies of so many requests, each on a connection of its own, in order."""
        done = self.client.call(
            "curl", "-sS", "--fail", "--fail-early", "--max-time", "60",
            "-H", "Connection: close", f"{url}?[1-{count}]", timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stderr}\n{self.balancer.log_tail()}"
        return done.stdout.splitlines()

    def names(self, vip: str, count: int, port: int = 80) -> list[str]:
        """Which real server answered each of ``count`` requests."""
        return [line.split()[0] for line in self.curl(f"http://{endpoint(vip, port)}/", count)]

    def megabyte(self, vip: str) -> None:
        """Ask the service on port 80 for a megabyte, and send it one."""
        ask = ["curl", "-sS", "-o", "/dev/null", "--max-time", "90"]
        url = f"http://{endpoint(vip, 80)}/"
        got = self.client.run(*ask, "-w", "%{size_download}", f"{url}bulk")
        assert int(got) == lab_servers.BULK_BYTES
        bulk = f"@{self.lab.directory}/nginx-rs1-80/bulk"
        say = ("-w", "%{size_upload} %{http_code}", "--data-binary", bulk)
        sent = self.client.run(*ask, *say, url)
        assert sent == f"{lab_servers.BULK_BYTES} 200"

    def ask(self, kind: str, *words: object, timeout: float = 300) -> dict[str, Any]:
        """Run a client of lab_client.py to its end; its report."""
        done = self.client.call(
            sys.executable, "-P", CLIENT, kind, *(str(word) for word in words), timeout=timeout
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    @contextlib.contextmanager
    def asking(self, kind: str, *words: object) -> Iterator[Asking]:
        """A client of lab_client.py that runs while the block does, connected already."""
        argv = [sys.executable, "-P", CLIENT, kind, *(str(word) for word in words)]
        process = subprocess.Popen(
            self.client.enter(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first, process.communicate()[1]
            yield Asking(process, json.loads(first)["connected"])
        finally:
            process.kill()
            process.communicate()

    # What the daemon knows

    def counters(self) -> list[dict[str, int]]:
        """Named counters of each worker."""
        return [worker["counters"] for worker in self.control.call("counters")["workers"]]

    def total(self, name: str) -> int:
        """One counter over all workers."""
        return sum(worker[name] for worker in self.counters())

    def status(self) -> dict[str, Any]:
        """What `dpvs status --json` prints."""
        data: dict[str, Any] = json.loads(self.op("dpvs status --json"))
        return data

    def worker_pid(self, index: int = 0) -> int:
        """Process of a worker."""
        return int(self.status()["workers"][index]["pid"])

    def connections(self, vip: str) -> list[dict[str, Any]]:
        """Connections of a virtual address."""
        rows, cursor = [], 0
        while True:
            page = self.control.call("conn.list", cursor=cursor, limit=2000)
            rows += [row for row in page["conns"] if row["vaddr"] == vip]
            cursor = page["cursor"]
            if not cursor:
                return rows

    def listed(self, proto: str, vip: str, port: int) -> dict[str, Any]:
        """The service as svc.list has it."""
        af = "inet6" if ":" in vip else "inet"
        key = {"af": af, "proto": proto, "addr": vip, "port": port}
        found: dict[str, Any] = self.control.call("svc.list", svc=key)[0]
        return found

    def neighbour(self, address: str) -> list[tuple[int, str, str | None]]:
        """(worker, state, MAC) of each entry of a neighbour."""
        rows = self.control.call("neigh.show", dev=None)
        return [(r["cid"], r["state"], r["lladdr"]) for r in rows if r["addr"] == address]


@contextlib.contextmanager
def running(
    workers: int = 1, edit: Callable[[str], str] | None = None, echo: bool = False
) -> Iterator[Running]:
    """A started balancer that is gone without a trace afterwards; ``edit`` changes its file."""
    with Lab(f"r{os.getpid()}x{next(_numbers)}") as lab:
        made = Running(lab, workers, edit)
        if echo:
            made.echo_servers()
        try:
            made.start()
        except LabError as error:
            raise AssertionError(f"{error}\n{made.balancer.log_tail()}") from error
        yield made
        made.control.close()
    assert lab.leftovers() == []
    assert traces(made.name) == []


def traces(name: str) -> list[str]:
    """What a daemon called ``name`` has on the system now."""
    places = {
        "/run/dpvs": name,
        "/dev/shm": f"dpvs_{name}_*",
        "/dev/hugepages": f"dpvs_{name}map_*",
        "/var/run/dpdk": f"dpvs_{name}*",
    }
    return [str(path) for place, form in places.items() for path in Path(place).glob(form)]


def pinged(node: Node, address: str, count: int, *options: str) -> bool:
    """Whether each of ``count`` pings is answered, the first ones by number, and none twice.

    Until so many are answered, however late (-w): without it ping waits for a moment only.
    """
    said = node.call("ping", "-n", "-c", str(count), "-i", "0.02", "-w", "60", *options, address)
    numbers = [int(number) for number in re.findall(r"[ =]icmp_seq=(\d+) .*time=", said.stdout)]
    return sorted(numbers) == [*range(1, count + 1)]
