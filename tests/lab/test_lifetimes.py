"""Addresses that live for a while, in both families: gone from every worker at their end."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from lab_running import ECHO, Running, running

from tests.waiting import eventually

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

V4, V6 = "198.18.0.77", "2001:db8:18::77"
LONGER, SHORT, LASTING = "198.18.0.78", "198.19.0.230", "198.19.0.231"


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """Two workers; each hears the pings of some clients' addresses."""
    with running(workers=2, echo=True) as made:
        assert made.six
        yield made


def answers(lb: Running, address: str) -> int:
    """How many of eight pings, each with another identifier, are answered."""
    version = "-6" if ":" in address else "-4"
    words = ("ping", version, "-c", "1", "-W", "20", address)
    return sum(lb.client.call(*words).returncode == 0 for _ in range(8))


def left(lb: Running, address: str) -> int:
    """Seconds an address has left; 0 for ever, -1 when it is not there."""
    rows = lb.control.call("addr.show", dev=None)
    return next((row["valid_lft"] for row in rows if row["addr"] == address), -1)


def test_addresses_of_both_families_end(lb: Running) -> None:
    lb.op(f"dpip addr add {V4}/32 dev dpdk0 valid_lft 400 scope link")
    lb.op(f"dpip addr add {V6}/128 dev dpdk0 valid_lft 400 prefered_lft 900 scope link")
    shown = lb.op("dpip addr show dev dpdk0")
    assert f"inet {V4}/32 scope link dpdk0\n     valid_lft " in shown
    assert all(200 < left(lb, address) <= 400 for address in (V4, V6))
    assert answers(lb, V4) == answers(lb, V6) == 8
    longer = {"addr": LONGER, "plen": 32, "dev": "dpdk0"}
    lb.control.call("addr.add", **longer, valid_lft=2)
    lb.control.call("addr.set", **longer, valid_lft=0)
    began = time.monotonic()
    lb.op(f"dpip addr set {V6}/128 dev dpdk0 valid_lft 4 prefered_lft 9 scope link")
    lb.op(f"dpip addr set {V4}/32 dev dpdk0 valid_lft 4 scope link")
    assert left(lb, V4) <= 4
    eventually(lambda: left(lb, V4) == left(lb, V6) == -1, "they end")
    assert time.monotonic() - began > 3.9
    routes = lb.op("dpip route show") + lb.op("dpip -6 route show")
    assert V4 not in routes and V6 not in routes
    # No worker answers ARP or solicitations for them, nor pings whose sender has the MAC address.
    for address in (V4, V6):
        assert lb.client.call("ping", "-c", "2", "-i", "0.2", "-W", "1", address).returncode != 0
    assert left(lb, LONGER) == 0 and answers(lb, LONGER) == 8


def test_a_local_address_ends_under_a_connection(lb: Running) -> None:
    """New connections take the others; the one that has a port of it goes on."""
    lb.op(f"dpip addr add {SHORT}/32 dev dpdk1 sapool valid_lft 400")
    vip = lb.new_vip("fullnat")
    lb.op(f"ipvsadm -A -t {vip}:{ECHO} -s rr")
    lb.op(f"ipvsadm -a -t {vip}:{ECHO} -r 198.19.0.11:{ECHO} -b")
    lb.op(f"ipvsadm -P -t {vip}:{ECHO} -z {SHORT} -F dpdk1")
    with lb.asking("stream", vip, ECHO, 0) as client:
        (row,) = lb.connections(vip)
        assert row["laddr"] == SHORT
        lb.op(f"dpip addr set {SHORT}/32 dev dpdk1 sapool valid_lft 2")
        eventually(lambda: left(lb, SHORT) == -1, "it ends")
        # Nothing to connect from: refused by name.
        before = lb.total("drop_no_laddr")
        assert lb.ask("try", vip, ECHO, 2, 1)["failed"] == 2
        assert lb.total("drop_no_laddr") > before
        lb.op(f"ipvsadm -P -t {vip}:{ECHO} -z {LASTING} -F dpdk1")
        report = lb.ask("try", vip, ECHO, 4, 60)
        assert report["failed"] == 0
        report = client.report()
    assert report["error"] == ""
    assert {row["laddr"] for row in lb.connections(vip)} <= {SHORT, LASTING}
