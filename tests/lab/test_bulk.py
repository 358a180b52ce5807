"""Bulk data between real TCP stacks through FullNAT, over a good link and a bad one.

Each transfer is of DPVS_BULK_MB megabytes (4 unless it is set), to the server and back.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_family import FAMILIES, Family
from lab_running import Running, running

from tests.waiting import eventually
from tools import lab_six
from tools import lab_two_arm as net

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

STREAM, BAD_LINK = (
    str(Path(__file__).with_name(name)) for name in ("lab_stream.py", "lab_bad_link.py")
)
PORT = 9000
MEGABYTES = int(os.environ.get("DPVS_BULK_MB", "4"))
LOST = LATE = 100  # of 10000 frames
each_family = pytest.mark.parametrize("family", FAMILIES, ids=str)


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """One worker; a bulk server on one real server."""
    with running() as made:
        server = next(iter(made.servers.values()))
        made.lab.spawn(
            server,
            [sys.executable, "-P", STREAM, "serve", str(PORT)],
            label="stream",
            ready=lambda: server.listening("tcp", PORT),
        )
        yield made


@pytest.fixture(scope="module")
def bad(lb: Running) -> Running:
    """From here on the client's cable loses 1 % of the frames and reorders 1 %, both ways."""
    node = lb.network.lb
    node.ip("link", "set", "client", "nomaster")
    node.ip("link", "add", "bad0", "type", "veth", "peer", "name", "bad1")
    for name in ("bad0", "bad1"):
        node.run("ethtool", "-K", name, "tx", "off")
        node.up(name)
    node.plug("bad1", "wan")
    log = lb.lab.directory / "bad-link.log"
    lb.lab.spawn(
        node,
        [sys.executable, "-P", BAD_LINK, "client", "bad0", str(LOST), str(LATE)],
        label=log.stem,
        ready=lambda: "joined" in log.read_text(),
    )
    return lb


def transfer(lb: Running, family: Family) -> tuple[dict[str, Any], dict[str, Any]]:
    """Send data there and back; what client and server saw."""
    vip = lb.service("fullnat", PORT, family=family, weights=[1])
    log = lb.lab.directory / "stream.log"
    before = len(log.read_text().splitlines())
    words = [sys.executable, "-P", STREAM, "send", vip, str(PORT), str(MEGABYTES)]
    client = json.loads(lb.client.run(*words, timeout=300))
    server = json.loads(eventually(lambda: log.read_text().splitlines()[before:])[0])
    for way, taker, sender in (("up", server, client), ("down", client, server)):
        print(
            f"{family} {way}: {MEGABYTES} MB in {taker['seconds']:.2f} s,"
            f" {sender['again']} segments again, {sender['duplicates']} of them for nothing,"
            f" {taker['disordered']} arrived out of order; {recoveries(lb)}",
            file=sys.stderr,
        )
    return client, server


def recoveries(lb: Running) -> list[int]:
    """How often client and server sent again because of SACK blocks."""
    hosts = (lb.client, next(iter(lb.servers.values())))
    said = [json.loads(host.run("nstat", "-asjz", "TcpExtTCPSackRecovery")) for host in hosts]
    return [report["kernel"]["TcpExtTCPSackRecovery"] for report in said]


def unharmed(client: dict[str, Any], server: dict[str, Any], family: Family) -> None:
    """Every byte arrived, the kernels agreed on SACK and window scaling, TOA named the client."""
    assert client["same"] and client["sha"] == server["sha"]
    assert client["bytes"] == server["bytes"] == MEGABYTES << 20
    for end in (client, server):
        assert end["sack"] and end["window_scale"]
    local = (net if family.inside == 4 else lab_six).local_addresses(1)[0]
    assert server["peer"] == local
    host = net.CLIENT_HOST if family.outside == 4 else lab_six.CLIENT_HOST
    address = ipaddress.ip_address(host).packed
    kind = bytes([0xFE, 4 + len(address)])
    toa = kind + client["port"].to_bytes(2, "big") + address
    assert server["toa"] == [toa.hex()]


@each_family
def test_bulk_over_a_good_link(lb: Running, family: Family) -> None:
    unharmed(*transfer(lb, family), family)


@each_family
def test_bulk_over_a_bad_link(bad: Running, family: Family) -> None:
    before = recoveries(bad)
    client, server = transfer(bad, family)
    unharmed(client, server, family)
    for end, now, then in zip((client, server), recoveries(bad), before, strict=True):
        assert end["again"] > 0 and end["disordered"] > 0, "the link was bad"
        assert now > then, "SACK blocks came through, and named what was missing"
