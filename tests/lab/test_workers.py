"""Two workers: connections keep to the worker that owns them, with RSS knowledge and without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from lab_family import FAMILIES, Family
from lab_running import ECHO, Running, pinged, running

from ipvs.rss import DEFAULT_KEY, toeplitz
from tests.waiting import eventually
from tools import lab_two_arm as net
from tools.lab_two_arm import MODES

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

RETA = 128  # entries of the indirection table, dealt out to the queues in turn


def without_rss(text: str) -> str:
    """The configuration for cards whose hash is not known."""
    return text.replace("        rx {\n", "        rx {\n            rss off\n")


@pytest.fixture(scope="module", params=["known", "off"])
def lb(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Two workers on taps that steer by Toeplitz hash, or as the kernel likes."""
    edit = without_rss if request.param == "off" else None
    with running(workers=2, edit=edit, echo=True) as made:
        made.rss = request.param  # type: ignore[attr-defined]
        yield made


def per_worker(lb: Running, proto: str, vip: str) -> list[dict[str, int]]:
    """Statistics of a service in each worker."""
    af = "inet6" if ":" in vip else "inet"
    key = {"af": af, "proto": proto, "addr": vip, "port": ECHO}
    return [lb.control.call("svc.list", svc=key, cpu=cid)[0]["stats"] for cid in (1, 2)]


def growth(lb: Running, before: list[dict[str, int]]) -> list[Counter[str]]:
    """By how much each worker's counters grew."""
    return [
        Counter({name: now[name] - then[name] for name in now})
        for now, then in zip(lb.counters(), before, strict=True)
    ]


def return_queue(row: dict[str, Any]) -> int:
    """The queue on which a NIC puts what the real server sends to the local address."""
    ends = b"".join(ip_address(row[name]).packed for name in ("daddr", "laddr"))
    ports = b"".join(row[name].to_bytes(2, "big") for name in ("dport", "lport"))
    return toeplitz(DEFAULT_KEY, ends + ports) % RETA % 2


def queues(lb: Running) -> dict[int, int]:
    """Receive queue of each worker, by cid."""
    rows = lb.control.call("cpu.show", cpu=None, stats=False)
    return {
        row["id"]: int(cell.partition(":rx")[2])
        for row in rows
        for cell in row["queues"]
        if cell.startswith("dpdk1:rx")
    }


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_return_packets_of_fullnat_are_processed_by_the_owner(lb: Running, family: Family) -> None:
    known = lb.rss == "known"  # type: ignore[attr-defined]
    vip = lb.service("fullnat", ECHO, family=family)
    before = lb.counters()
    with lb.asking("hold", vip, ECHO, 60, 0.7) as client:
        rows = lb.connections(vip)
        report = client.report()
    assert report["errors"] == []
    assert len(rows) == 60 and {row["cid"] for row in rows} == {1, 2}
    queue = queues(lb)
    for row in rows:
        if known:
            assert return_queue(row) == queue[row["cid"]], row
        else:
            assert row["lport"] & 1 == row["cid"] - 1, row

    eventually(lambda: lb.total("handed_in") == lb.total("handed_out"), "nothing is on its way")
    grown, stats = growth(lb, before), per_worker(lb, "tcp", vip)
    for cid in (1, 2):
        mine, worker = stats[cid - 1], grown[cid - 1]
        assert mine["conns"] == sum(row["cid"] == cid for row in rows)
        assert mine["outpkts"] > report["lines"] // 60 * mine["conns"]
        assert worker["drop_handover_full"] == worker["drop_handover_lost"] == 0
        if known:
            # All it received was its own: each packet once, and a little ARP.
            assert worker["handed_out"] == worker["handed_in"] == 0
            assert 0 <= worker["packets"] - mine["inpkts"] - mine["outpkts"] < 30
    if not known:
        assert sum(worker["handed_out"] for worker in grown) > 10


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_works_and_spreads_evenly(lb: Running, mode: str) -> None:
    vip = lb.service(mode)
    answers = lb.curl(f"http://{vip}/", 60)
    shares = Counter(answer.split()[0] for answer in answers)
    assert len(shares) == 3 and max(shares.values()) - min(shares.values()) <= 2
    expected = set(net.local_addresses(2)) if mode == "fullnat" else {net.CLIENT_HOST}
    assert {answer.split()[1] for answer in answers} == expected
    stats = lb.listed("tcp", vip, 80)
    assert stats["stats"]["conns"] == 60


def test_nat_connections_belong_to_the_worker_of_their_client(lb: Running) -> None:
    vip = lb.service("nat", ECHO, proto="udp")
    before = lb.counters()
    report = lb.ask("udp", vip, ECHO, 60)
    assert report["lost"] == 0
    assert max(report["servers"].values()) - min(report["servers"].values()) <= 2
    owners = Counter(row["cid"] for row in lb.connections(vip))
    assert owners.total() == 60 and min(owners[1], owners[2]) > 5
    stats = per_worker(lb, "udp", vip)
    for cid in (1, 2):
        assert stats[cid - 1]["inpkts"] == stats[cid - 1]["outpkts"] == owners[cid]
    eventually(lambda: lb.total("handed_in") == lb.total("handed_out"), "nothing is on its way")
    grown = growth(lb, before)
    assert sum(worker["handed_out"] for worker in grown) > 10
    assert grown[0]["handed_out"] == grown[1]["handed_in"]
    assert grown[1]["handed_out"] == grown[0]["handed_in"]


def test_neighbours_stay_known_to_both_workers(lb: Running) -> None:
    """ARP answers arrive at one worker's queue; the other must hear of them, again and again."""
    vip = lb.service("fullnat", ECHO)
    before = lb.counters()
    with lb.asking("hold", vip, ECHO, 20, 9) as client:
        report = client.report()
    assert report["errors"] == []
    for worker in growth(lb, before):
        assert worker["drop_neigh_failed"] == worker["drop_neigh_queue"] == 0
    for address in lb.servers:
        states = lb.neighbour(address)
        assert [cid for cid, _, _ in states] == [1, 2]
        assert {state for _, state, _ in states} <= {"REACHABLE", "DELAY", "PROBE"}
        assert len({mac for _, _, mac in states}) == 1


def test_ping_of_a_virtual_address(lb: Running) -> None:
    vip = lb.new_vip("fullnat")
    for size in (56, 1472):
        assert pinged(lb.client, vip, 20, "-s", str(size))
