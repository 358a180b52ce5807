"""The demonstration's requests, and judging what came back."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from tools import lab_two_arm as net
from tools.lab_node import Node


@dataclass
class Answers:
    """What a series of requests brought: answers counted by server, and by seen client."""

    wanted: int
    servers: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    error: str = ""

    @property
    def got(self) -> int:
        """Number of requests that were answered."""
        return self.servers.total()


def request_command(count: int) -> list[str]:
    """The curl command for `count` requests, each on a TCP connection of its own."""
    return [
        "curl", "-sS", "--fail", "--fail-early", "--connect-timeout", "10", "--max-time", "60",
        "-H", "Connection: close", f"http://{net.VIP}/[1-{count}]",
    ]  # fmt: skip


def request(client: Node, count: int) -> Answers:
    """Run request_command in `client`. The first request that fails ends the series."""
    done = client.call(*request_command(count), timeout=100 + count * 0.5)
    answers = Answers(count, error=done.stderr.strip())
    for line in done.stdout.splitlines():
        server, _, source = line.partition(" ")
        answers.servers[server] += 1
        answers.sources[source] += 1
    return answers


def service_connections(stats: str) -> int | None:
    """Connections of the virtual service in the output of `ipvsadm -Ln --stats -X`."""
    found = re.search(rf"^TCP\s+{re.escape(net.VIP)}:80\s+(\d+)\s", stats, re.MULTILINE)
    return int(found[1]) if found else None


def complaints(
    answers: Answers, mode: str, workers: int, servers: list[str], connections: int | None
) -> list[str]:
    """What is wrong with the answers, one sentence each; empty when nothing is.

    Each worker deals out its own connections in turn, so that with equal weights the servers'
    counts may differ by one for each worker, and not by more.
    """
    wrong = []
    if answers.got != answers.wanted:
        wrong.append(f"{answers.got} of {answers.wanted} requests answered. {answers.error}")
    counts = [answers.servers[name] for name in servers]
    if max(counts) - min(counts) > workers:
        wrong.append(f"unequal balance: {dict(answers.servers)}")
    if strangers := set(answers.servers) - set(servers):
        wrong.append(f"answers that no real server gives: {sorted(strangers)[:3]}")
    expected = set(net.local_addresses(workers)) if mode == "fullnat" else {net.CLIENT_HOST}
    if unexpected := set(answers.sources) - expected:
        wrong.append(
            f"the servers saw {', '.join(sorted(unexpected)[:5])} as client "
            f"instead of {', '.join(sorted(expected))}"
        )
    if connections != answers.wanted:
        wrong.append(f"the service counted {connections} connections for {answers.wanted} requests")
    return wrong
