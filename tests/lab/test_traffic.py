"""Real clients and servers through the balancer, in each forwarding mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from lab_running import ECHO, LETTERS, Running, running

from tools import lab_two_arm as net
from tools.lab_two_arm import MODES

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """One worker, real servers with nginx and an echo server."""
    with running(echo=True) as made:
        yield made


@pytest.mark.parametrize("mode", MODES)
def test_curl_reaches_the_servers_in_turn(lb: Running, mode: str) -> None:
    vip = lb.service(mode)
    answers = lb.curl(f"http://{vip}/", 30)
    order = [answer.split()[0] for answer in answers]
    assert sorted(order[:3]) == ["rs1", "rs2", "rs3"]
    assert order == order[:3] * 10
    seen = {answer.split()[1] for answer in answers}
    assert seen == ({"198.19.0.200"} if mode == "fullnat" else {net.CLIENT_HOST})


@pytest.mark.parametrize("mode", MODES)
def test_bulk_data_passes_both_ways_unharmed(lb: Running, mode: str) -> None:
    lb.megabyte(lb.service(mode))


@pytest.mark.parametrize(
    ("mode", "sched"), [("fullnat", "wrr"), ("fullnat", "wlc"), ("nat", "wlc"), ("dr", "wrr")]
)
def test_shares_match_the_weights(lb: Running, mode: str, sched: str) -> None:
    vip = lb.service(mode, ECHO, sched=sched, weights=[1, 2, 5])
    with lb.asking("hold", vip, ECHO, 80, 0) as client:
        shares = Counter(server for server, _ in client.connected)
        allowed = 0 if sched == "wrr" else 1  # wlc weighs closing connections too
        for server, share in {"rs1": 10, "rs2": 20, "rs3": 50}.items():
            assert abs(shares[server] - share) <= allowed, shares
        client.report()


def test_weights_change_while_it_runs(lb: Running) -> None:
    vip = lb.service("fullnat", sched="wrr")
    lb.op(f"ipvsadm -e -t {vip}:80 -r 198.19.0.11:80 -b -w 0")
    lb.op(f"ipvsadm -e -t {vip}:80 -r 198.19.0.12:80 -b -w 3")
    assert Counter(lb.names(vip, 20)) == {"rs2": 15, "rs3": 5}
    lb.op(f"ipvsadm -d -t {vip}:80 -r 198.19.0.12:80")
    assert Counter(lb.names(vip, 5)) == {"rs3": 5}
    lb.op(f"ipvsadm -E -t {vip}:80 -s rr")
    lb.op(f"ipvsadm -e -t {vip}:80 -r 198.19.0.11:80 -b -w 1")
    assert Counter(lb.names(vip, 20)) == {"rs1": 10, "rs3": 10}


def test_deleted_service_lets_its_connections_go_on(lb: Running) -> None:
    vip = lb.service("fullnat", ECHO)
    with lb.asking("stream", vip, ECHO, 1) as client:
        lb.op(f"ipvsadm -D -t {vip}:{ECHO}")
        refused = lb.client.call("curl", "-sS", "--max-time", "1", f"http://{vip}:{ECHO}/")
        assert refused.returncode != 0
        report = client.report()
    assert report["error"] == "" and report["lines"] > 50


def test_two_modes_and_protocols_at_once(lb: Running) -> None:
    """Services of different modes side by side on one virtual address."""
    vip = lb.new_vip("nat")
    for service, letter in ((f"-t {vip}:80", "m"), (f"-t {vip}:8080", "b"), (f"-u {vip}:80", "b")):
        port = ECHO if service.startswith("-u") else 80
        lb.op(f"ipvsadm -A {service} -s rr")
        for server in lb.servers:
            lb.op(f"ipvsadm -a {service} -r {server}:{port} -{letter}")
        if letter == LETTERS["fullnat"]:
            lb.op(f"ipvsadm -P {service} -z 198.19.0.200 -F dpdk1")
    assert {line.split()[1] for line in lb.curl(f"http://{vip}/", 6)} == {net.CLIENT_HOST}
    assert {line.split()[1] for line in lb.curl(f"http://{vip}:8080/", 6)} == {"198.19.0.200"}
    report = lb.ask("udp", vip, 80, 6)
    assert report["lost"] == 0 and report["sources"] == {"198.19.0.200": 6}


def test_command_is_in_force_when_it_returns(lb: Running) -> None:
    """No packet is treated by the old rules once an operator's command has ended."""
    vip = lb.service("fullnat", ECHO, proto="udp")
    key = {"af": "inet", "proto": "udp", "addr": vip, "port": ECHO}
    name = {address: server.name for address, server in lb.servers.items()}
    with lb.asking("ping", vip, ECHO) as client:
        for turn in range(30):
            only = list(lb.servers)[turn % 3]
            for address in lb.servers:
                lb.control.call(
                    "dest.edit", svc=key, addr=address, port=ECHO, mode="fullnat",
                    weight=int(address == only), u_thresh=0, l_thresh=0,
                )  # fmt: skip
            assert client.line("go")["server"] == name[only], turn


@pytest.mark.parametrize("mode", ["fullnat", "nat", "dr"])  # a tunnel has no room for more
def test_datagrams_of_8_kb_pass_in_fragments_both_ways(lb: Running, mode: str) -> None:
    """The hosts' kernels cut them up and put them together again, checksum and all."""
    vip = lb.service(mode, ECHO, proto="udp")
    report = lb.ask("udp", vip, ECHO, 20, 8000)
    assert report["lost"] == 0 and report["received_bytes"] > 20 * 8000
    assert len(report["servers"]) == 3


@pytest.mark.parametrize("mode", ["fullnat", "nat"])
def test_a_closed_port_of_the_server_refuses_the_client(lb: Running, mode: str) -> None:
    """The server's port unreachable reaches the socket that asked, from the virtual address."""
    vip = lb.service(mode, 9, proto="udp")
    report = lb.ask("big", vip, 9, 100)
    assert (report["type"], report["code"], report["from"]) == (3, 3, vip)
    assert report["error"] == "ECONNREFUSED" and not report["answered"]


@pytest.mark.parametrize("mode", ["dr", "tunnel"])  # answers go around the balancer
def test_each_datagram_of_a_one_packet_service_goes_to_the_next_server(
    lb: Running, mode: str
) -> None:
    vip = lb.service(mode, ECHO, proto="udp", options="--ops")
    report = lb.ask("same", vip, ECHO, 30)
    order = report["order"]
    assert sorted(order[:3]) == ["rs1", "rs2", "rs3"] and order == order[:3] * 10
    assert report["from"] == [[vip, ECHO]]
    assert lb.connections(vip) == [] and lb.listed("udp", vip, ECHO)["stats"]["conns"] == 30
    # Without --ops the socket would stay with one server.
    vip = lb.service(mode, ECHO, proto="udp")
    assert len(set(lb.ask("same", vip, ECHO, 6)["order"])) == 1


def test_each_large_datagram_of_a_one_packet_service_goes_whole_to_the_next_server(
    lb: Running,
) -> None:
    """In six fragments, which the server's kernel puts together; a tunnel has no room for them."""
    vip = lb.service("dr", ECHO, proto="udp", options="--ops")
    lost = lb.total("drop_frag_lost")
    report = lb.ask("same", vip, ECHO, 12, 8000)
    order = report["order"]
    assert sorted(order[:3]) == ["rs1", "rs2", "rs3"] and order == order[:3] * 4
    stats = lb.listed("udp", vip, ECHO)["stats"]
    assert stats["conns"] == 12 and lb.connections(vip) == []
    assert lb.total("drop_frag_lost") == lost
