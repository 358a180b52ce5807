"""Behind a switch with MLD snooping (a kernel bridge that asks, too): who listens must say so."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Interface

import pytest
from lab_running import Running, running
from test_ping6 import speak

from tests.waiting import eventually
from tools import client

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

WAN, CLIENT = "2001:db8:18::1", "2001:db8:18::2"
PING = ("ping", "-6", "-c", "1", "-W", "20")


def switch(lb: Running, *options: str) -> None:
    lb.network.lb.ip("link", "set", "wan", "type", "bridge", *options)


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """Two workers at a switch that snoops and sends queries every second or so."""
    with running(workers=2) as made:
        node = made.network.lb
        node.sysctl("net.ipv6.conf.all.disable_ipv6", "0")
        node.sysctl("net.ipv6.conf.wan.accept_dad", "0")
        node.sysctl("net.ipv6.conf.wan.disable_ipv6", "0")
        for name, value in {
            "mcast_mld_version": "2",
            "mcast_query_interval": "100",  # hundredths of a second
            "mcast_query_response_interval": "50",
            "mcast_startup_query_interval": "50",
            "mcast_last_member_interval": "20",
            "mcast_snooping": "1",
            "mcast_querier": "1",
        }.items():
            switch(made, name, value)
        made.op(f"dpip addr add {WAN}/64 dev dpdk0")
        speak(made.client, "eth0", CLIENT)
        yield made


def groups(lb: Running) -> set[str]:
    """IPv6 groups that the switch sends to the balancer's port."""
    (shown,) = json.loads(lb.network.lb.run("bridge", "-j", "-d", "mdb", "show", "dev", "wan"))
    return {row["grp"] for row in shown["mdb"] if row["port"] == "lbwan" and ":" in row["grp"]}


def two_queries(lb: Running) -> None:
    """Wait for queries of the switch, as it is set now."""
    before = lb.total("drop_mld_done")
    eventually(lambda: lb.total("drop_mld_done") >= before + 2, "the switch asks")


def test_queries_are_answered(lb: Running) -> None:
    """Our reports of old were sent before the switch listened."""
    mine = lb.op("dpip -6 addr show dev dpdk0")
    (own,) = (line.split()[1] for line in mine.splitlines() if "inet6 fe80::" in line)
    host = int(IPv6Interface(own).ip) & 0xFFFFFF
    expected = {"ff02::1:ff00:1", str(IPv6Address((0xFF02 << 112) + 0x1FF000000 + host))}
    eventually(lambda: expected <= groups(lb), "the switch learns our groups")
    eventually(lambda: lb.total("drop_mld_done") > 0, "a query of the switch arrives")


@pytest.mark.parametrize("version", ["2", "1"])
def test_addresses_that_come_and_go(lb: Running, version: str) -> None:
    address, group = f"2001:db8:18::{version}:77", f"ff02::1:ff0{version}:77"
    switch(lb, "mcast_mld_version", version)
    two_queries(lb)
    assert group not in groups(lb)
    switch(lb, "mcast_querier", "0")
    lb.op(f"dpip addr add {address}/128 dev dpdk0")
    eventually(lambda: group in groups(lb), "it is reported, and nobody asked")
    switch(lb, "mcast_querier", "1")
    two_queries(lb)
    # Its group is the only way to resolve it.
    assert "1 received" in lb.client.run(*PING, address)
    lb.op(f"dpip addr del {address}/128 dev dpdk0")
    eventually(lambda: group not in groups(lb), "the switch hears that it is gone")


def test_a_stop_with_clients_connected_is_no_error(lb: Running) -> None:
    lb.op("dpvs status")
    with socket.socket(socket.AF_UNIX) as idle:
        idle.connect(client.socket_path(lb.name, {}))
        lb.balancer.stop()
    log = lb.balancer.log.read_text()
    assert "worker 2 is down: stopped" in log
    assert [line for line in log.splitlines() if " ERR " in line] == []
