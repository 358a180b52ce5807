"""QUIC connection ids with real datagrams: a client that moves stays with the server it names."""

from __future__ import annotations

import ipaddress

import pytest
from lab_running import ECHO, running

from tools import lab_two_arm as net

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]


def payload(address: str, port: int) -> str:
    """A short header and an id with two bytes of the server's address, and its port."""
    tail = int(ipaddress.IPv4Address(address)) & 0xFFFF
    id_ = f"5a3{tail:04x}{port:04x}" + "7" * 29
    return "41" + id_ + "00" * 30


def test_every_new_address_of_a_client_reaches_its_server() -> None:
    with running(workers=2, echo=True) as lb:
        vip = lb.new_vip("fullnat")
        name = f"-u {vip}:{ECHO}"
        lb.op(f"ipvsadm -A {name} -s rr --quic")
        for server in lb.servers:
            lb.op(f"ipvsadm -a {name} -r {server}:{ECHO} -b")
        for address in net.local_addresses(2):
            lb.op(f"ipvsadm -P {name} -z {address} -F dpdk1")
        assert " rr quic" in lb.op(f"ipvsadm -Ln {name}")
        report = lb.ask("udp", vip, ECHO, 30)
        assert len(report["servers"]) == 3
        # Each address of the client is new to the balancer: no connection is there.
        sources = (f"198.18.16.{number}" for number in range(1, 9))
        for number, server in [*enumerate(lb.servers, 1)] * 2:
            source = next(sources)
            lb.client.address(f"{source}/32", "lo")
            report = lb.ask("send", vip, ECHO, 10, payload(server, ECHO), source)
            assert report["servers"] == {f"rs{number}": 10}
        assert {row["cid"] for row in lb.connections(vip)} == {1, 2}
        # Drained, it keeps the clients that name it.
        server = next(iter(lb.servers))
        lb.op(f"ipvsadm -e {name} -r {server}:{ECHO} -b -w 0")
        source = next(sources)
        lb.client.address(f"{source}/32", "lo")
        report = lb.ask("send", vip, ECHO, 10, payload(server, ECHO), source)
        assert report["servers"] == {"rs1": 10}
