"""What the parts of ``perf/run lab`` share: a balancer in the demonstration's network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perf.errors import PerfError
from perf.namespaces_lab import tune
from tools import lab_servers
from tools import lab_two_arm as net
from tools.client import ControlClient, socket_path
from tools.lab import Lab
from tools.lab_balancer import Balancer, setup_commands
from tools.lab_two_arm import TwoArm

CLIENTS = str(Path(__file__).with_name("lab_clients.py"))
ECHO = 7  # TCP and UDP port of the echo servers


class Host:
    """The network, and a balancer that can be started in it; ``echo`` adds services on ECHO."""

    def __init__(self, lab: Lab, mode: str, workers: int = 1, echo: bool = False) -> None:
        self.lab, self.mode, self.workers = lab, mode, workers
        self.network = TwoArm(lab)
        self.network.answer_by(mode)
        for node in (self.network.client, *self.network.servers.values()):
            tune(node)
        servers = list(self.network.servers)
        self.commands = setup_commands(mode, workers, servers)
        if echo:
            for server in self.network.servers.values():
                lab_servers.echo(lab, server, tcp=ECHO, udp=ECHO)
            for proto in "tu":
                name = f"-{proto} {net.VIP}:{ECHO}"
                more = [line.replace(f"-t {net.VIP}:80", name).replace(":80 ", f":{ECHO} ")
                        for line in self.commands if line.startswith("ipvsadm")]  # fmt: skip
                self.commands += [line for line in more if line not in self.commands]
        self.balancer = Balancer(self.network, workers=workers)
        block = "".join(f"    {line}\n" for line in self.commands)
        with self.balancer.config.open("a") as config:
            config.write(f"commands {{\n{block}}}\n")

    def service(self, proto: str, port: int) -> dict[str, Any]:
        """The service of that port as the daemon lists it."""
        control = ControlClient(socket_path(self.balancer.name, {}))
        try:
            key = {"af": "inet", "proto": proto, "addr": net.VIP, "port": port}
            found: dict[str, Any] = control.call("svc.list", svc=key)[0]
            return found
        finally:
            control.close()

    def worker(self) -> dict[str, Any]:
        """The first worker's row of `dpvs status --json`."""
        row: dict[str, Any] = json.loads(self.balancer.operate("dpvs status --json"))["workers"][0]
        return row

    @contextmanager
    def asking(self, *words: object) -> Iterator[Client]:
        """A client of lab_clients.py that is connected, and ended with the block."""
        argv = [sys.executable, "-P", CLIENTS, *(str(word) for word in words)]
        process = subprocess.Popen(
            self.network.client.enter(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, bufsize=1,
        )  # fmt: skip
        try:
            client = Client(process)
            client.read()
            yield client
        finally:
            process.kill()
            process.communicate()


class Client:
    """A client at work."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def read(self) -> dict[str, Any]:
        """The next line it prints.  Raises PerfError when it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PerfError(f"a client in the lab ended with status {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def go(self) -> None:
        """Give it the line of input it waits for."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")


@contextmanager
def host(mode: str, workers: int = 1, echo: bool = False) -> Iterator[Host]:
    """A network of its own; that it leaves nothing behind is checked.  Raises LabError."""
    with Lab(f"perf{os.getpid()}") as lab:
        yield Host(lab, mode, workers, echo)
    if left := lab.leftovers():
        raise PerfError(f"left behind: {', '.join(left)}")
