"""SCTP associations through the balancer and out through SNAT, with small and fragmented messages.

The ends are tests/lab/lab_sctp.py over raw sockets, which verify every checksum.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_family import FAMILIES, Family
from lab_running import Running, running

from tools import lab_six
from tools import lab_two_arm as net
from tools.lab_node import Node

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

SCRIPT = str(Path(__file__).with_name("lab_sctp.py"))
PORT = 9
SMALL, LARGE = 700, 9000  # bytes of a message: one packet, seven fragments
OUTSIDE = {4: "198.18.0.100", 6: "2001:db8:18::100"}
INSIDE = {4: "198.19.0.0-198.19.0.255", 6: "[2001:db8:19::-2001:db8:19::ffff]"}


def serve(lb: Running, node: Node) -> None:
    """Run the server in a host; the kernel lists its raw sockets by protocol number (0x84)."""
    lb.lab.spawn(
        node, [sys.executable, SCRIPT, "serve", node.name, str(PORT)],
        label=f"sctp-{node.name}", ready=lambda: ":0084" in node.run("cat", "/proc/net/raw"),
    )  # fmt: skip


def ask(node: Node, address: str, *numbers: int) -> dict[str, Any]:
    """Run the client in a host to its end; its report."""
    words = map(str, (PORT, *numbers))
    said = node.run(sys.executable, SCRIPT, "ask", address, *words, timeout=90)
    report: dict[str, Any] = json.loads(said)
    return report


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """Two workers; servers on the real servers and on the client, where SNAT leads."""
    with running(workers=2) as made:
        assert made.six
        for node in (made.client, *made.servers.values()):
            serve(made, node)
        yield made


def states(lb: Running, address: str) -> list[str]:
    """States of the associations that ipvsadm lists with an address."""
    rows = [line.split() for line in lb.op("ipvsadm -Lnc").splitlines() if address in line]
    return sorted(row[2] for row in rows if row[0].endswith("sctp"))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_associations_through_fullnat(lb: Running, family: Family) -> None:
    vip = lb.service("fullnat", PORT, proto="sctp", family=family)
    report = ask(lb.client, vip, 6, SMALL, 2)
    assert report["servers"] == {"rs1": 2, "rs2": 2, "rs3": 2} and report["again"] == 0
    local = (lab_six if family.inside == 6 else net).local_addresses(2)
    assert set(report["sources"]) <= set(local)
    # The listing cuts states to 15 characters.
    assert states(lb, vip) == ["SCTP_CLOSED"] * 4 + ["SCTP_ESTABLISHE"] * 2
    report = ask(lb.client, vip, 4, LARGE)
    assert sum(report["servers"].values()) == 4 and report["again"] == 0
    assert lb.listed("sctp", vip, PORT)["stats"]["conns"] == 10


@pytest.mark.parametrize("version", [4, 6])
def test_associations_from_inside_through_snat(lb: Running, version: int) -> None:
    outside = OUTSIDE[version]
    rule = f"-H proto=sctp,src-range={INSIDE[version]},oif=dpdk0"
    lb.op(f"dpip addr add {outside}/{128 if version == 6 else 32} dev dpdk0 sapool")
    lb.op(f"ipvsadm -A {rule} -s rr")
    lb.op(f"ipvsadm -a {rule} -r {f'[{outside}]' if version == 6 else outside}:0 -J -w 1")
    target = lab_six.CLIENT_LINK if version == 6 else net.CLIENT_LINK
    for host in list(lb.servers.values())[:2]:
        if version == 6:
            host.ip("-6", "route", "replace", "2001:db8:18::/64", "via", lab_six.LB_LAN)
        else:
            host.route("198.18.0.0/24", "via", net.LB_LAN)
        for size in (SMALL, LARGE):
            report = ask(host, target, 3, size, 1)
            assert report == {"servers": {"client": 3}, "sources": {outside: 3}, "again": 0}
    assert states(lb, outside) == ["SCTP_CLOSED"] * 8 + ["SCTP_ESTABLISHE"] * 4
    assert f"MATCH sctp,from={INSIDE[version]}:0-0,oif=dpdk0 rr\n" in lb.op("ipvsadm -Ln")


def test_nothing_was_dropped(lb: Running) -> None:
    names = [name for name in lb.counters()[0] if name.startswith(("drop_sctp", "drop_frag"))]
    assert len(names) > 8 and {name: lb.total(name) for name in names if lb.total(name)} == {}
