"""One host of a test network: a network namespace and the commands run in it."""

from __future__ import annotations

import ipaddress
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Reserved for benchmarks (RFC 2544) and documentation (RFC 5737): never somebody's real hosts.
PERMITTED = tuple(
    ipaddress.IPv4Network(net)
    for net in ("198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
)

LIMIT = 100.0  # seconds a command may take; on a busy machine a short one takes many

# What the kernel would otherwise do by itself, and what disturbs a test that counts packets.
QUIET = {
    "net.ipv6.conf.all.disable_ipv6": "1",
    "net.ipv6.conf.default.disable_ipv6": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
}


class LabError(Exception):
    """A lab could not be built or used; the message is one line for the user."""


def call(
    argv: Sequence[str],
    *,
    timeout: float = LIMIT,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    capture: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run `argv` to its end and return status and output, whatever the status.

    Without `capture` its output goes where this program's goes, and none is returned.
    Raises LabError when the program does not exist or runs longer than `timeout` seconds.
    """
    try:
        # Files, not pipes: a daemon that `argv` starts may keep them open, and is not waited for.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run(
                list(argv),
                stdout=out if capture else None,
                stderr=err if capture else None,
                timeout=timeout,
                input=None if stdin is None else stdin.encode(),
                stdin=subprocess.DEVNULL if stdin is None else None,
                env=None if env is None else dict(env),
                check=False,
            )
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
            return subprocess.CompletedProcess(done.args, done.returncode, *texts)
    except FileNotFoundError:
        raise LabError(f"{argv[0]}: program not found") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"`{shlex.join(argv)}` did not end within {timeout:g} s") from None


def run(
    argv: Sequence[str],
    *,
    timeout: float = LIMIT,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    capture: bool = True,
) -> str:
    """Run `argv` and return its standard output; LabError when it fails (see call)."""
    done = call(argv, timeout=timeout, stdin=stdin, env=env, capture=capture)
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        last = said.splitlines()[-1] if said else "no message" if capture else "see above"
        raise LabError(f"`{shlex.join(argv)}` failed ({done.returncode}): {last}")
    return done.stdout


def permitted(cidr: str) -> ipaddress.IPv4Interface:
    """Parse `cidr` ("198.18.0.1/24") and check that a lab may use the address.

    Raises LabError for anything that is not IPv4 or lies outside PERMITTED.
    """
    try:
        interface = ipaddress.IPv4Interface(cidr)
    except ValueError as error:
        raise LabError(f"bad lab address: {error}") from None
    if not any(interface.ip in net for net in PERMITTED):
        allowed = ", ".join(map(str, PERMITTED))
        raise LabError(f"lab address {interface.ip} is not in one of {allowed}")
    return interface


@dataclass(frozen=True)
class Node:
    """A namespace called `netns`, known in its lab as `name`."""

    name: str
    netns: str

    def create(self) -> None:
        """Make the namespace, with loopback up and IPv6 off."""
        run(["ip", "netns", "add", self.netns])
        self.ip("link", "set", "lo", "up")
        for key, value in QUIET.items():
            self.sysctl(key, value)

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` inside this namespace."""
        return ["ip", "netns", "exec", self.netns, *argv]

    def ip(self, *words: str) -> str:
        """`ip WORDS...` inside the namespace."""
        return run(["ip", "-n", self.netns, *words])

    def run(self, *argv: str, timeout: float = LIMIT, stdin: str | None = None) -> str:
        """Run a command inside the namespace; its output, or LabError when it fails."""
        return run(self.enter(argv), timeout=timeout, stdin=stdin)

    def call(self, *argv: str, timeout: float = LIMIT) -> subprocess.CompletedProcess[str]:
        """Run a command inside the namespace and leave judging its status to the caller."""
        return call(self.enter(argv), timeout=timeout)

    def sysctl(self, key: str, value: str) -> None:
        """Set a kernel parameter of this namespace; one the kernel lacks is skipped."""
        self.run("sysctl", "-e", "-q", "-w", f"{key}={value}")

    def address(self, cidr: str, dev: str) -> None:
        """Give `dev` an address; only test networks are accepted (see PERMITTED)."""
        self.ip("addr", "add", str(permitted(cidr)), "dev", dev)

    def up(self, dev: str) -> None:
        """Set `dev` up."""
        self.ip("link", "set", dev, "up")

    def route(self, *words: str) -> None:
        """`ip route replace WORDS...` inside the namespace."""
        self.ip("route", "replace", *words)

    def bridge(self, name: str) -> None:
        """Make an Ethernet switch that forwards at once and sends nothing of its own."""
        self.ip("link", "add", name, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        # Bridged packets are not the business of this namespace's packet filter.
        self.sysctl("net.bridge.bridge-nf-call-iptables", "0")
        self.sysctl("net.bridge.bridge-nf-call-arptables", "0")
        self.up(name)

    def plug(self, dev: str, bridge: str) -> None:
        """Make `dev` a port of `bridge` and set it up."""
        self.ip("link", "set", dev, "master", bridge, "up")

    def has(self, dev: str) -> bool:
        """Whether an interface of that name is in this namespace."""
        return call(["ip", "-n", self.netns, "link", "show", "dev", dev]).returncode == 0

    def listening(self, proto: str, port: int) -> bool:
        """Whether a socket of this namespace listens on `proto` ("tcp" or "udp") `port`."""
        kind = "-lt" if proto == "tcp" else "-lu"
        return bool(self.run("ss", "-Hn", kind, f"sport = :{port}").strip())
