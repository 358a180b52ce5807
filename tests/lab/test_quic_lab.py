"""QUIC connection ids with real datagrams: a client that moves stays with the server it names."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

import pytest
from lab_running import ECHO, Running, running

from tools import lab_two_arm as net

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

REST = "00" * 30
CONFIGURATION = 3  # of the QUIC-LB ids, see "--quic-lb 4,3" below


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """Two workers in front of echo servers."""
    with running(workers=2, echo=True) as made:
        yield made


def named(address: str, port: int) -> str:
    """A short header and an id with two bytes of the server's address, and its port."""
    tail = int(ipaddress.IPv4Address(address)) & 0xFFFF
    return f"415a3{tail:04x}{port:04x}" + "7" * 29 + REST


def server_id(address: str) -> str:
    """The id that the operator gave a real server."""
    return f"{int(ipaddress.IPv4Address(address)):08x}"


def numbered(address: str, _: int) -> str:
    """A short header and an id of QUIC-LB: configuration, server id, nonce."""
    return f"41{CONFIGURATION << 5 | 9:02x}{server_id(address)}" + "7" * 12 + REST


@pytest.mark.parametrize(
    ("options", "shown", "payload", "sources"),
    [
        ("--quic", " rr quic\n", named, "198.18.16"),
        ("--quic-lb 4,3", " rr quic quic-lb 4,3\n", numbered, "198.18.17"),
    ],
    ids=["quic", "quic-lb"],
)
def test_every_new_address_of_a_client_reaches_its_server(
    lb: Running, options: str, shown: str, payload: Callable[[str, int], str], sources: str
) -> None:
    vip = lb.new_vip("fullnat")
    name = f"-u {vip}:{ECHO}"
    lb.op(f"ipvsadm -A {name} -s rr {options}")
    for server in lb.servers:
        more = f"--server-id {server_id(server)}" if "lb" in options else ""
        lb.op(f"ipvsadm -a {name} -r {server}:{ECHO} -b {more}")
    for address in net.local_addresses(2):
        lb.op(f"ipvsadm -P {name} -z {address} -F dpdk1")
    assert shown in lb.op(f"ipvsadm -Ln {name}")
    report = lb.ask("udp", vip, ECHO, 30)
    assert len(report["servers"]) == 3
    # Each address of the client is new to the balancer: no connection is there.
    addresses = (f"{sources}.{number}" for number in range(1, 9))
    for number, server in [*enumerate(lb.servers, 1)] * 2:
        source = next(addresses)
        lb.client.address(f"{source}/32", "lo")
        report = lb.ask("send", vip, ECHO, 10, payload(server, ECHO), source)
        assert report["servers"] == {f"rs{number}": 10}
    assert {row["cid"] for row in lb.connections(vip)} == {1, 2}
    # Drained, it keeps the clients that name it.
    server = next(iter(lb.servers))
    lb.op(f"ipvsadm -e {name} -r {server}:{ECHO} -b -w 0")
    source = next(addresses)
    lb.client.address(f"{source}/32", "lo")
    report = lb.ask("send", vip, ECHO, 10, payload(server, ECHO), source)
    assert report["servers"] == {"rs1": 10}
