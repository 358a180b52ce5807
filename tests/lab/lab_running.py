"""A balancer that runs for a whole test module, and what tests ask of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tools import client, lab_servers
from tools import lab_two_arm as net
from tools.lab import Lab
from tools.lab_balancer import Balancer, program
from tools.lab_node import LabError, call
from tools.lab_two_arm import TwoArm

CLIENT = str(Path(__file__).with_name("lab_client.py"))
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
        self._vips = (f"192.0.2.{number}" for number in range(1, 100))
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
        return call(argv, env=self.balancer.environment, timeout=60)

    def new_vip(self, mode: str) -> str:
        """A virtual address that no test used, with the real servers set up for ``mode``."""
        vip = next(self._vips)
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
        sched: str = "rr",
        weights: Sequence[int] | None = None,
        to: int | None = None,
        laddrs: int | None = None,
    ) -> str:
        """A virtual service over all real servers; its virtual address."""
        vip = self.new_vip(mode)
        name = f"-{proto[0]} {vip}:{port}"
        self.op(f"ipvsadm -A {name} -s {sched}")
        for server, weight in zip(self.servers, weights or [1] * len(self.servers), strict=True):
            self.op(f"ipvsadm -a {name} -r {server}:{to or port} -{LETTERS[mode]} -w {weight}")
        if mode == "fullnat":
            for address in net.local_addresses(laddrs or self.workers):
                self.op(f"ipvsadm -P {name} -z {address} -F dpdk1")
        return vip

    # What clients see

    def curl(self, url: str, count: int = 1) -> list[str]:
        """Bodies of so many requests, each on a connection of its own, in order."""
        done = self.client.call(
            "curl", "-sS", "--fail", "--fail-early", "--max-time", "10",
            "-H", "Connection: close", f"{url}?[1-{count}]", timeout=60 + count * 0.1,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stderr}\n{self.balancer.log_tail()}"
        return done.stdout.splitlines()

    def names(self, vip: str, count: int, port: int = 80) -> list[str]:
        """Which real server answered each of ``count`` requests."""
        return [line.split()[0] for line in self.curl(f"http://{vip}:{port}/", count)]

    def ask(self, kind: str, *words: object, timeout: float = 120) -> dict[str, Any]:
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
        key = {"af": "inet", "proto": proto, "addr": vip, "port": port}
        found: dict[str, Any] = self.control.call("svc.list", svc=key)[0]
        return found

    def neighbour(self, address: str) -> list[tuple[int, str, str | None]]:
        """(worker, state, MAC) of each entry of a neighbour."""
        rows = self.control.call("neigh.show", dev=None)
        return [(r["cid"], r["state"], r["lladdr"]) for r in rows if r["addr"] == address]


class Asking:
    """A client that is at work."""

    def __init__(self, process: subprocess.Popen[str], connected: Any) -> None:
        self.process, self.connected = process, connected

    def line(self, text: str) -> dict[str, Any]:
        """Give it a line of input; the line it answers with."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        result: dict[str, Any] = json.loads(self.process.stdout.readline())
        return result

    def report(self) -> dict[str, Any]:
        """Wait for its end; what it reports."""
        assert self.process.stdout is not None and self.process.stderr is not None
        lines = self.process.stdout.readlines()
        errors = self.process.stderr.read()
        assert self.process.wait() == 0, errors
        result: dict[str, Any] = json.loads(lines[-1])
        return result


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


def eventually(true: Callable[[], Any], seconds: float = 5.0, what: str = "") -> Any:
    """Wait until ``true()`` is; its value.  Fails after so many seconds."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what or true}"
        time.sleep(0.02)
    return value
