"""Persistence with real clients and two workers: a client's connections arrive at both."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from lab_family import IPV4, IPV6, NAT64, Family, endpoint
from lab_running import ECHO, LETTERS, Running, running

from tests.waiting import eventually
from tools import lab_six
from tools import lab_two_arm as net

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

NEIGHBOUR = "198.18.16.77"  # another client
TIME = 6  # seconds; no template is shorter-lived: a connection has that long to begin


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    with running(workers=2, echo=True) as made:
        made.client.address(f"{NEIGHBOUR}/32", "lo")
        yield made


def names(lb: Running, vip: str, count: int, source: str = net.CLIENT_HOST) -> set[str]:
    """Real servers that answer so many requests of a client."""
    done = lb.client.call(
        "curl", "-sS", "--fail", "--fail-early", "--max-time", "60", "--interface", source,
        "-H", "Connection: close", f"http://{vip}/?[1-{count}]", timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {line.split()[0] for line in done.stdout.splitlines()}


def persistent(lb: Running, vip: str) -> dict[str, int]:
    """Templates by real server."""
    return {row["addr"]: row["persist"] for row in lb.listed("tcp", vip, 80)["dests"]}


@pytest.mark.parametrize("mode", ["fullnat", "nat", "dr"])
def test_a_client_stays_with_its_server_at_both_workers(lb: Running, mode: str) -> None:
    vip = lb.service(mode)
    lb.op(f"ipvsadm -E -t {vip}:80 -p")
    (first,) = names(lb, vip, 40)
    assert {row["cid"] for row in lb.connections(vip)} == {1, 2}
    others = {name for turn in range(3) for name in names(lb, vip, 5, NEIGHBOUR)}
    assert len(others) == 1
    assert names(lb, vip, 10) == {first}
    assert sum(persistent(lb, vip).values()) == 2
    listing = lb.op(f"ipvsadm -Ln --persistent-conn -t {vip}:80").splitlines()
    assert listing[2] == f"TCP  {vip}:80 rr persistent 360"
    rows = [row for row in lb.op("ipvsadm -Lnc --persistent-conn").splitlines() if vip in row]
    assert sorted(row.split()[3] for row in rows) == sorted(
        [f"{net.CLIENT_HOST}:0", f"{NEIGHBOUR}:0"]
    )
    assert all(row.startswith("[0]tcp ") and " TCP_NONE " in row for row in rows)

    # The server is drained: its client stays.  It is removed: the client gets another one.
    address = next(a for a, node in lb.servers.items() if node.name.endswith(first))
    lb.op(f"ipvsadm -e -t {vip}:80 -r {address}:80 -w 0 -{LETTERS[mode]}")
    assert names(lb, vip, 10) == {first}
    lb.op(f"ipvsadm -d -t {vip}:80 -r {address}:80")
    (second,) = names(lb, vip, 20)
    assert second != first


ALL_PORTS = [(IPV4, "nat"), (IPV6, "fullnat"), (NAT64, "fullnat")]


@pytest.mark.parametrize(("family", "mode"), ALL_PORTS, ids=str)
def test_all_ports_of_an_address_are_one_server(lb: Running, family: Family, mode: str) -> None:
    """nginx and the echo server of one host, until the echo's port has a service of its own."""
    vip = lb.service(mode, 0, family=family, options="-p")
    (first,) = set(lb.names(vip, 20))
    assert lb.ask("hold", vip, ECHO, 10, 0.2)["servers"] == {first: 10}
    own = f"-t {endpoint(vip, ECHO)}"
    lb.op(f"ipvsadm -A {own} -s rr")
    for server in lb.servers if family.inside == 4 else lb.six.servers:
        lb.op(f"ipvsadm -a {own} -r {endpoint(server, ECHO)} -{LETTERS[mode]}")
    for address in (net if family.inside == 4 else lab_six).local_addresses(2):
        if mode == "fullnat":
            lb.op(f"ipvsadm -P {own} -z {address} -F dpdk1")
    assert len(lb.ask("hold", vip, ECHO, 12, 0.2)["servers"]) == 3
    assert set(lb.names(vip, 10)) == {first}
    lb.op(f"ipvsadm -D {own}")
    assert lb.ask("hold", vip, ECHO, 10, 0.2)["servers"] == {first: 10}


def test_all_ports_over_the_death_of_a_worker(lb: Running) -> None:
    vip = lb.service("fullnat", 0, options="-p")
    (first,) = set(lb.names(vip, 10))
    listing = lb.op(f"ipvsadm -Ln -t {vip}:0").splitlines()
    assert listing[2] == f"TCP  {vip}:0 rr persistent 360"
    assert sorted(line.split()[1] for line in listing[3:]) == [f"{a}:0" for a in sorted(lb.servers)]
    with lb.asking("hold", vip, ECHO, 10, 3) as client:
        os.kill(lb.worker_pid(0), signal.SIGKILL)
        assert set(lb.names(vip, 10)) == {first}
        rows = lb.op("ipvsadm -Lnc").splitlines()
        report = client.report()
    assert report["errors"] == [] and report["servers"] == {first: 10}
    address = next(a for a, node in lb.servers.items() if node.name == first)
    for port in (80, ECHO):
        ends = {tuple(row.split()[4:7:2]) for row in rows if f" {vip}:{port} " in row}
        assert ends == {(f"{vip}:{port}", f"{address}:{port}")}


def test_a_mask_and_the_end_of_time(lb: Running) -> None:
    vip = lb.service("fullnat", ECHO, proto="udp")
    lb.op(f"ipvsadm -E -u {vip}:{ECHO} -p {TIME} -M 255.255.0.0 --conn-timeout 1")
    key = {"af": "inet", "proto": "udp", "addr": vip, "port": ECHO}

    def left() -> int:
        return sum(row["persist"] for row in lb.control.call("svc.list", svc=key)[0]["dests"])

    report = lb.ask("udp", vip, ECHO, 60)
    assert report["lost"] == 0 and len(report["servers"]) == 1
    assert left() == 1
    assert f"persistent {TIME} mask 255.255.0.0" in lb.op(f"ipvsadm -Ln -u {vip}:{ECHO}")
    assert f"-p {TIME} -M 255.255.0.0" in lb.op("ipvsadm -Sn")
    eventually(lambda: left() == 0, "the template ends")
