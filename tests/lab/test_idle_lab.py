"""Real TCP at both ends of idle connections: each end is told that its connection is over."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_family import IPV4, IPV6, NAT64
from lab_running import ECHO, Running, running

from tests.waiting import eventually
from tools import lab_two_arm as net
from tools.lab_node import Node

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

IDLE_SECONDS = 2
END = str(Path(__file__).with_name("lab_idle.py"))
# NAT last: it is what the servers' routes are left for.
WAYS = [("fullnat", IPV4), ("fullnat", IPV6), ("fullnat", NAT64), ("nat", IPV4), ("nat", IPV6)]
OUTSIDE = "198.18.0.100"
RULE = "-H proto=tcp,src-range=198.19.0.0-198.19.0.255,oif=dpdk0"


class End:
    """A process of lab_idle.py in a node."""

    def __init__(self, node: Node, *words: object) -> None:
        argv = [sys.executable, "-P", END, *(str(word) for word in words)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(node.enter(argv), stdin=pipe, stdout=pipe, text=True)

    def rest(self) -> None:
        """Let it send nothing more."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def line(self) -> dict[str, Any]:
        """What it says next."""
        assert self.process.stdout is not None
        result: dict[str, Any] = json.loads(self.process.stdout.readline())
        return result


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """One worker; established connections may be idle for two seconds."""
    with running(echo=True) as made:
        made.op(f"ipvsadm --set {IDLE_SECONDS} 0 0")
        yield made


@contextlib.contextmanager
def pairs(lb: Running) -> Iterator[list[tuple[End, End]]]:
    """(client, server): one to a server that is cut off, one in every way, one through SNAT."""
    made: list[tuple[End, End]] = []
    # The first server is cut off once it is connected.
    address, node = list(lb.servers.items())[2]
    vip = lb.service("fullnat", 9200, weights=[0, 0, 1])
    places = [(lb.client, vip, node, address, 9200)]
    for port, (mode, family) in enumerate(WAYS, 9000):
        vip = lb.service(mode, port, family=family, weights=[1])
        inside = lb.servers if family.inside == 4 else lb.six.servers
        address, node = next(iter(inside.items()))
        places.append((lb.client, vip, node, address, port))
    lb.op(f"dpip addr add {OUTSIDE}/32 dev dpdk0 sapool")
    lb.op(f"ipvsadm -A {RULE} -s rr")
    lb.op(f"ipvsadm -a {RULE} -r {OUTSIDE}:0 -J")
    host = list(lb.servers.values())[1]
    host.route("198.18.0.0/24", "via", net.LB_LAN)
    places.append((host, net.CLIENT_LINK, lb.client, net.CLIENT_LINK, 9100))
    try:
        listening = [End(node, "listen", address, port) for _, _, node, address, port in places]
        for (node, target, _, _, port), server in zip(places, listening, strict=True):
            assert server.line() == {"ready": "listening"}
            made.append((End(node, "connect", target, port), server))
        yield made
    finally:
        for end in [*listening, *(client for client, _ in made)]:
            end.process.kill()
            end.process.communicate()


def test_both_ends_of_idle_connections_are_reset(lb: Running) -> None:
    """Also the client of a server that does not answer, but nobody whose connection is in use."""
    vip = lb.service("fullnat", ECHO, weights=[1])
    with pairs(lb) as ends, lb.asking("stream", vip, ECHO, 0) as busy:
        for pair in ends:
            assert [end.line() for end in pair] == [{"ready": "connected"}] * 2
        # Only now, and first the others: whose server is cut off must not have ended by then.
        for pair in reversed(ends):
            for end in pair:
                end.rest()
            assert [end.line() for end in pair] == [{"ready": "idle"}] * 2
        list(lb.servers.values())[2].ip("link", "set", "eth0", "down")
        said = [client.line() for client, _ in ends]
        said += [server.line() for _, server in ends[1:]]
        assert [end["error"] for end in said] == ["ECONNRESET"] * (2 * len(ends) - 1)
        for end in said:
            assert IDLE_SECONDS - 0.5 < end["seconds"] < 50, said  # by default: 90
        assert ends[0][1].process.poll() is None, "who is cut off does not know"
        eventually(lambda: lb.total("connections") <= 1, "only the stream's connection is left")
        report = busy.report()
    assert report["error"] == "" and report["lines"] > 100
    told = [lb.total(name) for name in ("idle_probed", "idle_resets", "idle_untold")]
    assert told == [len(ends), 2 * len(ends) - 1, 1]
