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
from lab_family import FAMILIES, FOUR_IN_SIX, IPV4, IPV6, SIX_IN_FOUR, Family
from lab_running import Running, running

from tests.waiting import eventually
from tools import lab_six
from tools import lab_two_arm as net
from tools.lab_node import Node

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

SCRIPT = str(Path(__file__).with_name("lab_sctp.py"))
PORT, OTHER_PORT = 9, 19  # of servers; of NAT services, so that their checksums have to follow
SMALL, LARGE = 700, 9000  # bytes of a message: one packet, seven fragments
WAYS = [
    *(("fullnat", family) for family in FAMILIES),
    *((mode, family) for mode in ("nat", "dr", "tunnel") for family in (IPV4, IPV6)),
    ("tunnel", SIX_IN_FOUR),
    ("tunnel", FOUR_IN_SIX),
]
OUTSIDE = {4: "198.18.0.100", 6: "2001:db8:18::100"}
INSIDE = {4: "198.19.0.0-198.19.0.255", 6: "[2001:db8:19::-2001:db8:19::ffff]"}


def serve(lb: Running, node: Node) -> None:
    """Run the server in a host; the kernel lists its raw sockets by protocol number (0x84)."""
    lb.lab.spawn(
        node, [sys.executable, SCRIPT, "serve", node.name, str(PORT)],
        label=f"sctp-{node.name}", ready=lambda: ":0084" in node.run("cat", "/proc/net/raw"),
    )  # fmt: skip


def ask(node: Node, address: str, port: int, count: int, left: int) -> dict[str, Any]:
    """So many associations from a host, small and large messages in turn, the last ones left open;
    the client's report."""
    words = map(str, (port, count, left, SMALL, LARGE))
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


def leave_room(lb: Running, vip: str) -> None:
    """Let the client cut fragments to ``vip`` that have room for a tunnel's outer header."""
    six = ":" in vip
    way = lab_six if six else net
    lb.client.ip(
        "-6" if six else "-4", "route", "replace", f"{vip}/{128 if six else 32}",
        "via", way.LB_WAN, "dev", "eth0", "src", way.CLIENT_HOST, "mtu", "1400",
    )  # fmt: skip


@pytest.mark.parametrize(("mode", "family"), WAYS, ids=str)
def test_associations(lb: Running, mode: str, family: Family) -> None:
    port = OTHER_PORT if mode == "nat" else PORT
    vip = lb.service(mode, port, proto="sctp", family=family, to=PORT)
    if mode == "tunnel":
        leave_room(lb, vip)
    seen = {(lab_six if family.outside == 6 else net).CLIENT_HOST}
    if mode == "fullnat":
        seen = set((lab_six if family.inside == 6 else net).local_addresses(2))
    report = ask(lb.client, vip, port, 6, 2)
    assert report["servers"] == {"rs1": 2, "rs2": 2, "rs3": 2} and report["again"] == 0
    assert set(report["sources"]) <= seen
    # The listing cuts states to 15 characters.  Where servers answer around the balancer, it sees
    # no cookie acknowledged.
    open_ = "SCTP_INIT" if mode in ("dr", "tunnel") else "SCTP_ESTABLISHE"
    expected = ["SCTP_CLOSED"] * 4 + [open_] * 2
    eventually(lambda: states(lb, vip) == expected, "the last packets pass")
    assert lb.listed("sctp", vip, port)["stats"]["conns"] == 6


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
        report = ask(host, target, PORT, 6, 2)
        assert report == {"servers": {"client": 6}, "sources": {outside: 6}, "again": 0}
    expected = ["SCTP_CLOSED"] * 8 + ["SCTP_ESTABLISHE"] * 4
    eventually(lambda: states(lb, outside) == expected, "the last packets pass", 30)
    assert f"MATCH sctp,from={INSIDE[version]}:0-0,oif=dpdk0 rr\n" in lb.op("ipvsadm -Ln")


def test_nothing_was_dropped(lb: Running) -> None:
    names = [name for name in lb.counters()[0] if name.startswith(("drop_sctp", "drop_frag"))]
    assert len(names) > 8 and {name: lb.total(name) for name in names if lb.total(name)} == {}
