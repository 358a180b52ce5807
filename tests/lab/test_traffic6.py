"""Real clients through the balancer where IPv6 stands outside, inside or both (NAT64, tunnels)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_family import FOUR_IN_SIX, IPV6, NAT64, SIX_IN_FOUR, Family, endpoint
from lab_running import ECHO, Running, running

from tools import lab_six
from tools import lab_two_arm as net

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

WAYS = [
    ("fullnat", IPV6),
    ("fullnat", NAT64),
    ("nat", IPV6),
    ("dr", IPV6),
    ("tunnel", IPV6),
    ("tunnel", SIX_IN_FOUR),
    ("tunnel", FOUR_IN_SIX),
]
each_way = pytest.mark.parametrize(("mode", "family"), WAYS, ids=lambda value: str(value))


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """One worker; nginx and an echo server on three real servers, both families."""
    with running(echo=True) as made:
        yield made


def seen(mode: str, family: Family) -> str:
    """The address that real servers see."""
    if mode == "fullnat":
        return (lab_six if family.inside == 6 else net).local_addresses(1)[0]
    return (lab_six if family.outside == 6 else net).CLIENT_HOST


@each_way
def test_curl_reaches_the_servers_in_turn(lb: Running, mode: str, family: Family) -> None:
    """Thirty requests, then a megabyte each way: whole segments of the client have to make room
    for a longer header (NAT64) or a second one (tunnels)."""
    vip = lb.service(mode, family=family)
    answers = lb.curl(f"http://{endpoint(vip, 80)}/", 30)
    assert sorted(answer.split()[0] for answer in answers[:3]) == ["rs1", "rs2", "rs3"]
    assert answers == answers[:3] * 10
    assert {answer.split()[1] for answer in answers} == {seen(mode, family)}
    assert f"TCP  {endpoint(vip, 80)} rr" in lb.op("ipvsadm -Ln")
    assert lb.op("ipvsadm -Lnc").count(endpoint(vip, 80)) >= 30
    lb.megabyte(vip)


@each_way
def test_datagrams_are_answered(lb: Running, mode: str, family: Family) -> None:
    """Such that nearly fill a packet, and small ones."""
    vip = lb.service(mode, ECHO, proto="udp", family=family)
    report = lb.ask("udp", vip, ECHO, 30, 1400)
    assert report["lost"] == 0 and report["sources"] == {seen(mode, family): 30}
    assert report["servers"] == {"rs1": 10, "rs2": 10, "rs3": 10}
    assert lb.listed("udp", vip, ECHO)["stats"]["conns"] == 30
    assert lb.ask("udp", vip, ECHO, 6, 9)["lost"] == 0


@pytest.mark.parametrize(
    ("mode", "family"), [("fullnat", IPV6), ("nat", IPV6), ("fullnat", NAT64)], ids=str
)
def test_a_closed_port_of_the_server_refuses_the_client(
    lb: Running, mode: str, family: Family
) -> None:
    """RFC 4443 3.1, and RFC 7915 4.2 for an IPv4 server: port unreachable, from the service."""
    vip = lb.service(mode, 9, proto="udp", family=family)
    report = lb.ask("big", vip, 9, 100)
    assert (report["type"], report["code"], report["from"]) == (1, 4, vip)
    assert report["error"] == "ECONNREFUSED" and not report["answered"]
