"""Neighbour discovery, ICMPv6 and IPv6 forwarding with real Linux hosts around the balancer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lab_running import Running, pinged, running

from tests.waiting import eventually
from tools.lab_node import Node

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

WAN, LAN, VIP = "2001:db8:18::1", "2001:db8:19::1", "2001:db8:100::1"
CLIENT, CLIENT_BACK, SERVER = "2001:db8:18::2", "2001:db8:19::fe", "2001:db8:19::11"
LAN_MTU = 1400


def edit(text: str) -> str:
    """IPv6 is forwarded, a smaller MTU towards the real servers."""
    lan = text.index("device dpdk1 {")
    text = text[:lan] + text[lan:].replace("{", f"{{\n        mtu {LAN_MTU}", 1)
    return text + "ipv6_defs {\n    forwarding on\n}\n"


def speak(node: Node, device: str, address: str, *routes: tuple[str, ...]) -> None:
    """Let a host speak IPv6 on one device, with no addresses of its own making but fe80::."""
    for name in ("all", "default", device):
        node.sysctl(f"net.ipv6.conf.{name}.accept_ra", "0")
        node.sysctl(f"net.ipv6.conf.{name}.accept_dad", "0")
        node.sysctl(f"net.ipv6.conf.{name}.disable_ipv6", "0")
    node.ip("addr", "add", f"{address}/64", "dev", device, "nodad")
    for prefix, via, *more in routes:
        node.ip("-6", "route", "replace", prefix, "via", via, *more)


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """One worker between a client and a server that know each other only through it."""
    with running(edit=edit) as made:
        for line in (
            f"dpip addr add {WAN}/64 dev dpdk0",
            f"dpip addr add {LAN}/64 dev dpdk1",
            f"dpip addr add {VIP}/128 dev dpdk0",
        ):
            made.op(line)
        speak(made.client, "eth0", CLIENT, ("2001:db8:19::/64", WAN), (f"{VIP}/128", WAN))
        way_back = ("2001:db8:18::/64", LAN, "mtu", str(LAN_MTU))
        speak(server(made), "eth0", SERVER, way_back)
        yield made


def server(lb: Running) -> Node:
    return lb.servers["198.19.0.11"]


def ping(node: Node, address: str, *options: str) -> bool:
    return pinged(node, address, 5, "-6", *options)


def link_local(node: Node) -> str:
    """The fe80:: address of a host's eth0."""
    found = json.loads(node.run("ip", "-j", "-6", "addr", "show", "dev", "eth0", "scope", "link"))
    (address,) = [row["local"] for row in found[0]["addr_info"] if "local" in row]
    return str(address)


@pytest.mark.parametrize("address", [WAN, VIP, LAN])
def test_ping_of_our_addresses(lb: Running, address: str) -> None:
    assert ping(lb.client, address)
    assert ping(lb.client, address, "-s", "1400")
    rows = lb.op("dpip -6 neigh show dev dpdk0")
    assert f"ip: {CLIENT:<48} mac: " in rows and "state: REACHABLE" in rows


def test_ping_of_a_host_behind_us(lb: Running) -> None:
    assert ping(lb.client, SERVER)
    done = lb.client.call("ping", "-6", "-c", "1", "-t", "1", SERVER)
    assert "Time exceeded: Hop limit" in done.stdout
    done = lb.client.call("ping", "-6", "-c", "1", "-W", "1", "2001:db8:ffff::1")
    assert done.returncode != 0


def test_rfc8201_a_host_learns_the_path_mtu(lb: Running) -> None:
    """The first packet is too big for the other side; the kernel then sends fragments."""
    lb.client.call("ping", "-6", "-c", "2", "-i", "0.2", "-s", "1440", SERVER)
    learnt = ("ip", "-6", "route", "get", SERVER)
    eventually(lambda: f"mtu {LAN_MTU}" in lb.client.run(*learnt), "the client learns it")
    assert "1 received" in lb.client.run("ping", "-6", "-c", "1", "-s", "1440", SERVER)


def test_link_local_addresses(lb: Running) -> None:
    shown = lb.op("dpip -6 addr show dev dpdk0")
    (line,) = [line for line in shown.splitlines() if "inet6 fe80::" in line]
    assert line.endswith("/64 scope link dpdk0")
    address = line.split()[1].split("/")[0]
    assert ping(lb.client, f"{address}%eth0")
    assert ping(lb.client, "ff02::1%eth0", "-L")
    lb.op(f"dpip -6 route add 2001:db8:77::/64 via {link_local(server(lb))} dev dpdk1")
    assert "inet6 2001:db8:77::/64 via fe80::" in lb.op("dpip -6 route show dev dpdk1")


def test_rfc4862_an_address_that_another_host_has_is_not_used(lb: Running) -> None:
    taken = "2001:db8:18::99"
    lb.client.ip("addr", "add", f"{taken}/64", "dev", "eth0", "nodad")
    lb.op(f"dpip addr add {taken}/64 dev dpdk0")
    eventually(lambda: f"{taken}/128" not in lb.op("dpip -6 route show"))
    assert taken in lb.op("dpip -6 addr show")
    lb.op(f"dpip addr del {taken}/64 dev dpdk0")
    # the other way round: Linux finds that we have it
    lb.client.sysctl("net.ipv6.conf.eth0.accept_dad", "1")
    lb.client.ip("addr", "add", "2001:db8:18::1/64", "dev", "eth0")
    eventually(lambda: "dadfailed" in lb.client.run("ip", "-6", "addr", "show", "dev", "eth0"))
    lb.client.ip("addr", "del", "2001:db8:18::1/64", "dev", "eth0")


def test_listings(lb: Running) -> None:
    assert (
        f"inet6 {WAN}/64 scope global dpdk0\n     valid_lft forever preferred_lft forever\n"
    ) in lb.op("dpip -6 addr show dev dpdk0")
    routes = lb.op("dpip -6 route show")
    assert f"inet6 {VIP}/128 dev dpdk0 mtu 1500 scope host\n" in routes
    assert f"inet6 2001:db8:19::/64 src {LAN} dev dpdk1 mtu {LAN_MTU} scope link\n" in routes
    mac = "02:aa:00:00:00:77"
    lb.op(f"dpip neigh add 2001:db8:18::77 lladdr {mac} dev dpdk0")
    shown = lb.op("dpip -6 neigh show")
    assert f"ip: {'2001:db8:18::77':<48} mac: {mac}   state: REACHABLE     dev: dpdk0" in shown
    lb.op("dpip neigh del 2001:db8:18::77 dev dpdk0")
