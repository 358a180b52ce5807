"""What ipvsadm shows of real traffic: the reference's format, and counters that add up."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from lab_running import ECHO, Running, running

from tests.waiting import eventually
from tools import lab_two_arm as net
from tools.lab_two_arm import MODES

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

WORDS = {"fullnat": "FullNat", "nat": "Masq", "dr": "Route", "tunnel": "Tunnel"}
ONE_WAY = ("dr", "tunnel")  # answers go around the balancer
TITLE = (
    "Prot LocalAddress:Port Scheduler Flags\n"
    "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
)
STATS_TITLE = (
    "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n"
    "  -> RemoteAddress:Port\n"
)
RATE_TITLE = (
    "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n"
    "  -> RemoteAddress:Port\n"
)
HEADERS = 28  # IPv4 and UDP


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """One worker, real servers with nginx and an echo server."""
    with running(echo=True) as made:
        yield made


def stats_line(name: str, *numbers: int) -> str:
    """A line of --stats: a name of 33 columns, numbers of 9."""
    return f"{name:<33}" + "".join(f"{number:>9}" for number in numbers) + "\n"


def numbers_of(listing: str) -> list[list[int]]:
    """The numbers of each line of --stats or --rate, service first."""
    rows = listing.splitlines()[2:]
    return [[int(word) for word in row.split()[-5:]] for row in rows]


@pytest.mark.parametrize("mode", MODES)
def test_udp_is_balanced_and_counted_to_the_byte(lb: Running, mode: str) -> None:
    vip = lb.service(mode, ECHO, proto="udp")
    before = lb.control.call("link.show", dev="dpdk0", stats=True)[0]["stats"]["ipackets"]
    report = lb.ask("udp", vip, ECHO, 30, 100)
    assert report["lost"] == 0
    assert report["servers"] == {"rs1": 10, "rs2": 10, "rs3": 10}
    assert report["order"] == report["order"][:3] * 10

    answers = 0 if mode in ONE_WAY else 10
    sizes = 10 * (HEADERS + 100), answers and report["received_bytes"] // 3 + 10 * HEADERS
    one = (10, 10, answers, *sizes)
    lines = [stats_line(f"  -> {server}:{ECHO}", *one) for server in lb.servers]
    expected = STATS_TITLE + stats_line(f"UDP  {vip}:{ECHO}", *(3 * n for n in one))
    assert lb.op(f"ipvsadm -Ln --stats -u {vip}:{ECHO}") == expected + "".join(lines)
    assert lb.op(f"ipvsadm -Ln --stats -X -u {vip}:{ECHO}") == expected + "".join(lines)
    after = lb.control.call("link.show", dev="dpdk0", stats=True)[0]["stats"]["ipackets"]
    assert 30 <= after - before < 40  # and some ARP

    inactive = [f"  -> {server}:{ECHO}" for server in lb.servers]
    shown = [f"{name:<33} {WORDS[mode]:<7} 1      0          10        \n" for name in inactive]
    listing = lb.op(f"ipvsadm -Ln -u {vip}:{ECHO}")
    assert listing == TITLE + f"UDP  {vip}:{ECHO} rr\n" + "".join(shown)

    lb.op(f"ipvsadm -Z -u {vip}:{ECHO}")
    assert numbers_of(lb.op(f"ipvsadm -Ln --stats -u {vip}:{ECHO}")) == [[0] * 5] * 4


@pytest.mark.parametrize("mode", MODES)
def test_tcp_counters_add_up(lb: Running, mode: str) -> None:
    vip = lb.service(mode)
    lb.curl(f"http://{vip}/", 30)

    def added_up() -> list[list[int]]:
        rows = numbers_of(lb.op(f"ipvsadm -Ln --stats -t {vip}:80"))
        return rows if rows[0] == [sum(column) for column in zip(*rows[1:], strict=True)] else []

    service, *dests = eventually(added_up, "the last packets have passed")
    conns, inpkts, outpkts, inbytes, outbytes = service
    assert [dest[0] for dest in dests] == [10, 10, 10] and conns == 30
    # SYN, ACK, request, ACK of the answer, FIN, ACK; some acknowledgements may be one.
    assert 30 * 4 <= inpkts <= 30 * 7 and inbytes > inpkts * 40
    if mode in ONE_WAY:
        assert (outpkts, outbytes) == (0, 0)
    else:
        assert 30 * 3 <= outpkts <= 30 * 7 and outbytes > outpkts * 40


def test_whole_listing_has_the_reference_format(lb: Running) -> None:
    """Title, order (protocol, then address) and columns, of all services together."""
    lb.op("ipvsadm -C")
    tcp = lb.service("fullnat", weights=[3, 2, 1], sched="wlc")
    udp = lb.service("nat", ECHO, proto="udp", sched="wrr")
    direct = lb.service("dr")
    with lb.asking("hold", lb.service("fullnat", ECHO), ECHO, 4, 0.2):
        pass

    def rows(word: str, port: int, weights: tuple[int, ...]) -> str:
        pairs = zip(lb.servers, weights, strict=True)
        return "".join(
            f"  -> {f'{server}:{port}':<28} {word:<7} {weight:<6} 0          0         \n"
            for server, weight in pairs
        )

    lb.op(f"ipvsadm -D -t 192.0.2.{int(direct.split('.')[3]) + 1}:{ECHO}")
    assert lb.op("ipvsadm -Ln") == (
        "IP Virtual Server version 1.10.2 (size=0)\n"
        + TITLE
        + f"TCP  {tcp}:80 wlc\n{rows('FullNat', 80, (3, 2, 1))}"
        + f"TCP  {direct}:80 rr\n{rows('Route', 80, (1, 1, 1))}"
        + f"UDP  {udp}:{ECHO} wrr\n{rows('Masq', ECHO, (1, 1, 1))}"
    )
    assert lb.op("ipvsadm -S -n").splitlines()[:2] == [
        f"-A -t {tcp}:80 -s wlc",
        f"-a -t {tcp}:80 -r 198.19.0.11:80 -b -w 3",
    ]


@pytest.mark.parametrize("mode", MODES)
def test_connection_list_has_the_reference_format(lb: Running, mode: str) -> None:
    vip = lb.service(mode, ECHO)
    with lb.asking("hold", vip, ECHO, 6, 0) as client:
        ends = {port: server for server, port in client.connected}
        listing = [row for row in lb.op("ipvsadm -Lnc").splitlines() if f" {vip}:{ECHO} " in row]
        pair = f"tcp:{net.CLIENT_HOST}:{min(ends)}:{vip}:{ECHO}"
        found = lb.op(f"ipvsadm -Lnc --sockpair {pair}").splitlines()
        client.report()
    assert len(listing) == 6
    names = {address: server.name for address, server in lb.servers.items()}
    for row in listing:
        proto, expire, state, source, virtual, local, real = row.split()
        port = int(source.split(":")[1])
        assert (proto, state, source) == ("[1]tcp", "TCP_EST", f"{net.CLIENT_HOST}:{port}")
        assert re.fullmatch(r"(8[5-9]|90)s", expire)
        assert names[real.split(":")[0]] == ends.pop(port)
        assert real.endswith(f":{ECHO}")
        if mode == "fullnat":
            assert re.fullmatch(r"198\.19\.0\.200:\d+", local)
        else:
            assert local == source
        columns = f"[1]{'tcp':<3} {expire:<6} {state:<11} {source:<18} {virtual:<18} {local:<18} "
        assert row == columns + real
    assert len(found) == 1 and found[0].split()[3] == pair[4 : -len(f":{vip}:{ECHO}")]
    miss = lb.attempt("ipvsadm", "-Lnc", "--sockpair", f"tcp:192.0.2.250:1:{vip}:{ECHO}")
    assert (miss.returncode, miss.stdout) == (0, "")
    assert miss.stderr == "connection specified not found\n"


def test_local_addresses_are_listed_with_their_connections(lb: Running) -> None:
    title = "VIP:VPORT            TOTAL    SNAT_IP              CONFLICTS  CONNS     \n"
    vip = lb.service("fullnat", ECHO)
    lb.op(f"ipvsadm -Q -t {vip}:{ECHO} -z 198.19.0.200 -F dpdk1")
    lb.op(f"ipvsadm -P -t {vip}:{ECHO} -z 198.19.0.222 -F dpdk1")
    with lb.asking("hold", vip, ECHO, 7, 0) as client:
        assert lb.op(f"ipvsadm -G -t {vip}:{ECHO}") == (
            f"{title}{f'{vip}:{ECHO}':<20} 1        \n"
            f"{'':<30}198.19.0.222         0          7         \n"
        )
        shown = lb.op("dpip addr show dev dpdk1 -s")
        assert "inet 198.19.0.222/32 scope global dpdk1\n" in shown
        assert f" sa_used 7 sa_free {16 * 64511 - 7} sa_miss 0\n" in shown
        client.report()
    second = lb.service("nat")
    assert lb.op(f"ipvsadm -G -t {second}:80") == f"{title}{f'{second}:80':<20} 0        \n"


def test_rates_show_what_flows(lb: Running) -> None:
    vip = lb.service("fullnat", ECHO, to=ECHO)

    def packets() -> int:
        return int(lb.listed("tcp", vip, ECHO)["stats"]["inpkts"])

    def fits() -> str:
        """A listing whose rate is about that of these two seconds; clients are slowed at times."""
        began, before = time.monotonic(), packets()
        time.sleep(2)  # whole seconds, counted from one tick to the next
        listing = lb.op(f"ipvsadm -Ln --rate -t {vip}:{ECHO}")
        rate = (packets() - before) / (time.monotonic() - began)
        return listing if rate / 3 < numbers_of(listing)[0][1] < rate * 3 else ""

    with lb.asking("hold", vip, ECHO, 3, 0):
        listing = eventually(fits, "the rate is that of the counters")
    rows = listing.splitlines(keepends=True)
    assert "".join(rows[:2]) == RATE_TITLE
    service, *dests = numbers_of(listing)
    assert all(abs(service[n] - sum(dest[n] for dest in dests)) <= 3 for n in range(5)), (
        listing
    )  # each is rounded down
    # A line is longer than 500 bytes; some acknowledgements are packets of their own.
    assert service[3] > service[1] * 250
    assert re.fullmatch(rf"TCP  {vip}:{ECHO} +(\d+ +){{4}}\d+\n", rows[2])
    assert all(len(row.rstrip("\n")) == 33 + 45 for row in rows[2:])
    quiet = [[0] * 5] * 4
    eventually(
        lambda: numbers_of(lb.op(f"ipvsadm -Ln --rate -t {vip}:{ECHO}")) == quiet, "rates end"
    )
