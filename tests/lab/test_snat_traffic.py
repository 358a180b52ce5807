"""Real clients on the inside go out through SNAT: curl, ping and UDP."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from lab_running import CLIENT, ECHO, Running, running

from tools import lab_servers
from tools import lab_two_arm as net

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

OUTSIDE = ("198.18.0.100", "198.18.0.101")
RANGE = "198.19.0.0-198.19.0.255"


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def lb(request: pytest.FixtureRequest) -> Iterator[Running]:
    """The client is a server on the outside here, the real servers are clients on the inside."""
    with running(workers=request.param) as made:
        lab_servers.nginx(made.lab, made.client)
        lab_servers.echo(made.lab, made.client, udp=ECHO)
        for address in OUTSIDE:
            made.op(f"dpip addr add {address}/32 dev dpdk0 sapool")
        for proto in ("tcp", "udp", "icmp"):
            rule = f"-H proto={proto},src-range={RANGE},oif=dpdk0"
            made.op(f"ipvsadm -A {rule} -s rr")
            for address in OUTSIDE:
                made.op(f"ipvsadm -a {rule} -r {address}:0 -J -w 1")
        for host in made.servers.values():
            host.route("198.18.0.0/24", "via", net.LB_LAN)
        yield made


def test_curl_from_inside_is_seen_with_an_outside_address(lb: Running) -> None:
    seen = set()
    for host in lb.servers.values():
        many = f"http://{net.CLIENT_LINK}/?[1-10]"
        answers = host.run("curl", "-sS", "--fail", "-H", "Connection: close", many).splitlines()
        assert len(answers) == 10
        seen |= {answer.split()[1] for answer in answers}
        assert {answer.split()[0] for answer in answers} == {"client"}
        size = host.run("curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}",
                        f"http://{net.CLIENT_LINK}/bulk")  # fmt: skip
        assert int(size) == lab_servers.BULK_BYTES
    assert seen == set(OUTSIDE)
    listing = lb.op("ipvsadm -Ln")
    assert f"MATCH tcp,from={RANGE}:0-0,oif=dpdk0 rr\n" in listing
    rows = [line.split() for line in listing.splitlines() if ":0 " in line]
    assert {(row[1], row[2]) for row in rows} == {(f"{a}:0", "SNAT") for a in OUTSIDE}
    conns = [row.split() for row in lb.op("ipvsadm -Lnc").splitlines()]
    ended = [row for row in conns if row[2] in ("TIME_WAIT", "LAST_ACK", "TCP_CLOSE")]
    assert ended and all(row[3] == row[5] == f"{net.CLIENT_LINK}:80" for row in ended)


def test_ping_from_two_hosts_with_one_identifier(lb: Running) -> None:
    for host in list(lb.servers.values())[:2]:
        said = host.run("ping", "-n", "-c", "3", "-i", "0.2", "-e", "77", net.CLIENT_LINK)
        assert "3 packets transmitted, 3 received, 0% packet loss" in said
    assert sum("[" in row and "]icmp" in row for row in lb.op("ipvsadm -Lnc").splitlines()) >= 2


def test_udp_from_inside(lb: Running) -> None:
    host = next(iter(lb.servers.values()))
    said = host.run(sys.executable, "-P", CLIENT, "udp", net.CLIENT_LINK, str(ECHO), "30")
    report = json.loads(said.splitlines()[-1])
    assert report["lost"] == 0 and report["servers"] == {"client": 30}
    # Each worker takes its outside addresses in turn.
    assert sorted(report["sources"]) == list(OUTSIDE) and min(report["sources"].values()) >= 13


def test_ports_come_back(lb: Running) -> None:
    """Nothing is dropped, and a deleted rule is not in force any more."""
    assert lb.total("drop_no_port") == lb.total("drop_conn_clash") == 0
    rule = f"-H proto=icmp,src-range={RANGE},oif=dpdk0"
    lb.op(f"ipvsadm -D {rule}")
    host = next(iter(lb.servers.values()))
    assert host.call("ping", "-n", "-c", "1", "-W", "1", net.CLIENT_LINK).returncode != 0
    lb.op("ipvsadm -C")
    assert "MATCH" not in lb.op("ipvsadm -Ln")
