"""ARP, MTU and TTL with real hosts around the balancer."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest
from lab_running import ECHO, Running, pinged, running

from tests.waiting import eventually
from tools import lab_servers
from tools import lab_two_arm as net
from tools.lab_node import Node

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

LAN_MTU = 1400
TIMEOUT = 3  # seconds a neighbour stays REACHABLE
SOONER = 30  # seconds: by default it stays so for 60
RS1, RS2, RS3 = "198.19.0.11", "198.19.0.12", "198.19.0.13"


def edit(text: str) -> str:
    """Short memory for neighbours, TTL decremented, a smaller MTU towards the real servers."""
    lan = text.index("device dpdk1 {")
    device = f"device dpdk1 {{\n        mtu {LAN_MTU}"
    text = text[:lan] + text[lan:].replace("device dpdk1 {", device, 1)
    text = text.replace("    conn {\n", "    conn {\n        xmit_ttl\n")
    return text + f"neigh_defs {{\n    timeout {TIMEOUT}\n}}\n"


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """One worker with the above."""
    with running(edit=edit, echo=True) as made:
        yield made


def mac_of(node: Node) -> str:
    """Link address of a host's eth0."""
    found = json.loads(node.run("ip", "-j", "link", "show", "dev", "eth0"))
    return str(found[0]["address"])


def state(lb: Running, address: str) -> str:
    """State of a neighbour in the only worker, "" when there is none."""
    rows = lb.neighbour(address)
    return rows[0][1] if rows else ""


def test_ping(lb: Running) -> None:
    vip = lb.new_vip("fullnat")
    before = lb.total("packets")
    assert pinged(lb.client, vip, 10, "-s", "1400")
    assert lb.total("packets") - before >= 10
    for address in (net.LB_WAN,):
        assert "1 received" in lb.client.run("ping", "-c", "1", address)
    lb.op(f"dpip addr del {vip}/32 dev dpdk0")
    assert lb.client.call("ping", "-c", "1", "-W", "1", vip).returncode != 0


def test_entries_age_and_resolve_again(lb: Running) -> None:
    vip = lb.service("fullnat")
    mac = mac_of(lb.servers[RS1])
    row = f"ip: {RS1:<48} mac: {mac}   state: REACHABLE     dev: dpdk1  core: 1  \n"

    def shown() -> bool:
        assert len(lb.names(vip, 3)) == 3  # in time, or it has aged when it is listed
        return row in lb.op("dpip neigh show dev dpdk1")

    eventually(shown, "a used entry is reachable")
    eventually(lambda: state(lb, RS1) == "PROBE", "an unused entry ages", SOONER)
    assert len(lb.names(vip, 3)) == 3
    eventually(lambda: state(lb, RS1) == "REACHABLE", "a used entry is confirmed")


def test_aged_entry_follows_a_host_that_moved(lb: Running) -> None:
    vip = lb.service("fullnat")
    lb.op(f"ipvsadm -e -t {vip}:80 -r {RS2}:80 -b -w 0")
    lb.op(f"ipvsadm -e -t {vip}:80 -r {RS3}:80 -b -w 0")
    assert lb.names(vip, 1) == ["rs1"]
    eventually(lambda: state(lb, RS1) == "PROBE", "an unused entry ages", SOONER)
    lb.servers[RS1].ip("link", "set", "eth0", "address", "02:aa:00:00:01:11")
    assert lb.names(vip, 1) == ["rs1"]
    assert lb.neighbour(RS1)[0][2] == "02:aa:00:00:01:11"


def change_mac(lb: Running, last: int, knows: str = "") -> None:
    """Give the real server rs1 another MAC, without a word to anyone.

    The kernel forgets its neighbours then and asks for them again, from which the balancer would
    learn. With ``knows``, an address of the balancer, it is told that one at once and asks nothing.
    """
    batch = f"link set eth0 address 02:aa:00:00:02:{last:02x}\n"
    if knows:
        mac = lb.control.call("link.show", dev="dpdk1")[0]["mac"]
        batch += f"neigh replace {knows} lladdr {mac} dev eth0 nud permanent\n"
    lb.servers[RS1].run("ip", "-batch", "-", stdin=batch)


def only_rs1(lb: Running, mode: str, port: int) -> str:
    """A service whose connections all go to rs1."""
    vip = lb.new_vip(mode)
    lb.op(f"ipvsadm -A -t {vip}:{port} -s rr")
    letter = {"fullnat": "b", "nat": "m", "dr": "g"}[mode]
    lb.op(f"ipvsadm -a -t {vip}:{port} -r {RS1}:{port} -{letter}")
    if mode == "fullnat":
        lb.op(f"ipvsadm -P -t {vip}:{port} -z 198.19.0.200 -F dpdk1")
    return vip


@pytest.mark.parametrize("mode", ["fullnat", "dr"])
def test_conversation_goes_on_after_the_server_changed_its_mac(lb: Running, mode: str) -> None:
    vip = only_rs1(lb, mode, ECHO)
    with lb.asking("stream", vip, ECHO, 9) as client:
        time.sleep(1)
        change_mac(lb, 1 + net.MODES.index(mode))
        report = client.report()
    assert report["error"] == "" and report["server"] == "rs1"
    assert lb.neighbour(RS1)[0][2] == mac_of(lb.servers[RS1])


@pytest.mark.parametrize("mode", ["fullnat"])
def test_download_goes_on_after_the_server_changed_its_mac(lb: Running, mode: str) -> None:
    """The server keeps sending and hears nothing: its packets are no proof of the old MAC."""
    vip = only_rs1(lb, mode, 80)
    near = {"fullnat": "198.19.0.200", "nat": net.LB_LAN}[mode]
    with lb.asking("download", vip, 80, "/bulk", 4) as client:
        time.sleep(0.5)
        change_mac(lb, 16 + net.MODES.index(mode), near)
        mac = mac_of(lb.servers[RS1])
        # After two seconds of silence; with the server's packets as a proof it took 14.
        eventually(lambda: lb.neighbour(RS1)[0][2] == mac, "the new address is learnt", 9)
        report = client.report()
    assert report == {"bytes": lab_servers.BULK_BYTES, "error": ""}
    lb.servers[RS1].ip("neigh", "del", near, "dev", "eth0")


def test_gateway_of_the_client_changes_its_mac(lb: Running) -> None:
    vip = only_rs1(lb, "fullnat", ECHO)
    with lb.asking("stream", vip, ECHO, 8) as client:
        time.sleep(0.5)
        lb.client.ip("link", "set", "eth0", "address", "02:aa:00:00:03:01")
        # The kernel drops the route over eth0's neighbours only; the balancer must ask again.
        report = client.report()
    assert report["error"] == "", report


def test_dead_server_disturbs_no_other(lb: Running) -> None:
    """No ARP answer from rs2: its clients wait in vain, the others notice nothing."""
    vip = lb.service("fullnat", ECHO)
    lb.servers[RS2].ip("link", "set", "eth0", "down")
    lb.op(f"dpip neigh del {RS2} dev dpdk1")
    try:
        before = lb.total("drop_neigh_failed")
        report = lb.ask("try", vip, ECHO, 15, 5)
        assert report == {"servers": {"rs1": 5, "rs3": 5}, "failed": 5, "again": 0}
        assert lb.total("drop_neigh_failed") > before
        assert state(lb, RS2) in ("SEND", "NONE")
        shown = lb.op("dpip neigh show dev dpdk1")
        assert any(RS2 in row and "mac:incomplate" in row for row in shown.splitlines())
    finally:
        lb.servers[RS2].ip("link", "set", "eth0", "up")
        lb.network.answer_by("fullnat")
    eventually(lambda: "rs2" in lb.ask("try", vip, ECHO, 3, 1)["servers"], "rs2 is back")


def test_packet_too_big_for_the_servers_side(lb: Running) -> None:
    """A DF packet above the MTU is answered with fragmentation needed (RFC 1191)."""
    vip = lb.service("fullnat", ECHO, proto="udp")
    report = lb.ask("big", vip, ECHO, LAN_MTU - 28 + 1)
    assert report == {
        "type": 3, "code": 4, "mtu": LAN_MTU, "error": "EMSGSIZE", "from": vip, "answered": False,
    }  # fmt: skip
    assert lb.ask("big", vip, ECHO, LAN_MTU - 28 - 40)["answered"]
    assert lb.total("drop_ip_too_big") > 0


def test_upload_finds_the_path_mtu(lb: Running) -> None:
    vip = lb.service("fullnat")
    bulk = f"@{lb.lab.directory}/nginx-rs1-80/bulk"
    sent = lb.client.run("curl", "-sS", "-o", "/dev/null", "--max-time", "90", "--data-binary",
                         bulk, "-w", "%{size_upload} %{http_code}", f"http://{vip}/")  # fmt: skip
    assert sent == f"{lab_servers.BULK_BYTES} 200"
    assert f"mtu {LAN_MTU}" in lb.client.run("ip", "route", "get", vip)


def test_time_to_live_runs_out_at_the_balancer(lb: Running) -> None:
    vip = lb.service("fullnat", ECHO, proto="udp")
    report = lb.ask("big", vip, ECHO, 100, 1)
    assert report == {
        "type": 11, "code": 0, "mtu": 0, "error": "EHOSTUNREACH", "from": vip, "answered": False,
    }  # fmt: skip
    assert lb.ask("big", vip, ECHO, 100, 2)["answered"]
    assert lb.total("drop_ip_ttl") > 0


def test_time_to_live_is_one_less_behind_the_balancer(lb: Running) -> None:
    vip = only_rs1(lb, "nat", 80)
    command = ["tcpdump", "-ni", "eth0", "-c", "1", "-U", "-w", "-", "tcp port 80"]
    argv = lb.servers[RS1].enter(["timeout", "60", *command])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(24)  # the file's header: it listens
        assert lb.names(vip, 1) == ["rs1"]
        frame = process.stdout.read()[16:]
    assert frame[14 + 8] == 63
