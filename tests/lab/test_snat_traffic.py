"""Real clients on the inside go out through SNAT, IPv4 and IPv6: curl, ping and UDP."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from lab_family import endpoint
from lab_running import CLIENT, ECHO, Running, running

from tools import lab_servers, lab_six
from tools import lab_two_arm as net

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]


@dataclass(frozen=True)
class Way:
    """Addresses of one IP version: who is asked, the range of the askers, what the asked sees."""

    asked: str
    inside: str
    outside: tuple[str, str]
    ping: str
    listed: str  # the range as listings have it

    @property
    def protocols(self) -> tuple[str, str, str]:
        return ("tcp", "udp", self.ping)

    def rule(self, proto: str) -> str:
        """The match service of a protocol, as operators name it."""
        return f"-H proto={proto},src-range={self.inside},oif=dpdk0"


FOUR = Way(
    net.CLIENT_LINK, "198.19.0.0-198.19.0.255", ("198.18.0.100", "198.18.0.101"), "icmp",
    "198.19.0.0-198.19.0.255:0-0",
)  # fmt: skip
SIX = Way(
    lab_six.CLIENT_LINK, "[2001:db8:19::-2001:db8:19::ffff]",
    ("2001:db8:18::100", "2001:db8:18::101"), "icmpv6", "[2001:db8:19::-2001:db8:19::ffff]:0-0",
)  # fmt: skip
both = pytest.mark.parametrize("way", [FOUR, SIX], ids=["ipv4", "ipv6"])


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def lb(request: pytest.FixtureRequest) -> Iterator[Running]:
    """The client is a server on the outside here, the real servers are clients on the inside."""
    with running(workers=request.param) as made:
        lab_servers.nginx(made.lab, made.client)
        lab_servers.echo(made.lab, made.client, udp=ECHO)
        for host in made.six.servers.values():
            host.route("198.18.0.0/24", "via", net.LB_LAN)
            host.ip("-6", "route", "replace", "2001:db8:18::/64", "via", lab_six.LB_LAN)
        for way, plen in ((FOUR, 32), (SIX, 128)):
            for address in way.outside:
                made.op(f"dpip addr add {address}/{plen} dev dpdk0 sapool")
            for proto in way.protocols:
                made.op(f"ipvsadm -A {way.rule(proto)} -s rr")
                for address in way.outside:
                    made.op(f"ipvsadm -a {way.rule(proto)} -r {endpoint(address, 0)} -J -w 1")
        yield made


@both
def test_curl_from_inside_is_seen_with_an_outside_address(lb: Running, way: Way) -> None:
    seen = set()
    asked = endpoint(way.asked, 80)
    for host in lb.servers.values():
        many = f"http://{asked}/?[1-10]"
        answers = host.run("curl", "-sS", "--fail", "-H", "Connection: close", many).splitlines()
        assert len(answers) == 10
        seen |= {answer.split()[1] for answer in answers}
        assert {answer.split()[0] for answer in answers} == {"client"}
        size = host.run("curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}",
                        f"http://{asked}/bulk")  # fmt: skip
        assert int(size) == lab_servers.BULK_BYTES
    conns = [row.split() for row in lb.op("ipvsadm -Lnc").splitlines()]
    assert seen == set(way.outside)
    listing = lb.op("ipvsadm -Ln")
    assert f"MATCH tcp,from={way.listed},oif=dpdk0 rr\n" in listing
    rows = [line.split() for line in listing.splitlines() if " SNAT " in line]
    targets = {row[1] for row in rows}
    assert {endpoint(address, 0) for address in way.outside} <= targets
    ended = [row for row in conns if row[2] in ("TIME_WAIT", "LAST_ACK", "TCP_CLOSE")]
    assert [row for row in ended if row[3] == row[5] == asked]


@both
def test_ping_from_two_hosts_with_one_identifier(lb: Running, way: Way) -> None:
    """Until three are answered: without -w ping does not wait for one that is late."""
    for host in list(lb.servers.values())[:2]:
        said = host.run("ping", "-n", "-c", "3", "-i", "0.2", "-w", "60", "-e", "77", way.asked)
        received = re.search(r" (\d+) received", said)
        assert received is not None and int(received[1]) >= 3 and "duplicates" not in said
    listed = [row for row in lb.op("ipvsadm -Lnc").splitlines() if f"]{way.ping}" in row]
    assert len(listed) >= 2


@both
def test_large_pings_pass_in_fragments(lb: Running, way: Way) -> None:
    """Both kernels put three fragments together again, and check the sum over all of them."""
    for host in list(lb.servers.values())[:2]:
        said = host.run("ping", "-n", "-c", "3", "-i", "0.2", "-w", "9", "-s", "4000", way.asked)
        assert said.count("4008 bytes from") >= 3 and "duplicates" not in said


@both
def test_udp_from_inside(lb: Running, way: Way) -> None:
    host = next(iter(lb.servers.values()))
    said = host.run(sys.executable, "-P", CLIENT, "udp", way.asked, str(ECHO), "30")
    report = json.loads(said.splitlines()[-1])
    assert report["lost"] == 0 and report["servers"] == {"client": 30}
    # Each worker takes its outside addresses in turn.
    sources = report["sources"]
    assert sorted(sources) == list(way.outside) and min(sources.values()) >= 13


def test_ports_come_back(lb: Running) -> None:
    """Nothing is dropped, and a deleted rule is not in force any more."""
    assert lb.total("drop_no_port") == lb.total("drop_conn_clash") == 0
    host = next(iter(lb.servers.values()))
    for way in (FOUR, SIX):
        lb.op(f"ipvsadm -D {way.rule(way.ping)}")
        assert host.call("ping", "-n", "-c", "1", "-W", "1", way.asked).returncode != 0
    lb.op("ipvsadm -C")
    assert "MATCH" not in lb.op("ipvsadm -Ln")
