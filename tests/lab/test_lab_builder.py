"""Labs: what they build works, and they are gone afterwards, whatever ends them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import lab_wire
import pytest
from scapy import all as scapy

from tools import lab_needs, lab_scrap, lab_servers
from tools import lab_two_arm as net
from tools.lab import Lab
from tools.lab_node import LabError, Node, permitted
from tools.lab_two_arm import TwoArm

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.lab

# A lab with a server, in a process of its own; says when it is built, then waits.
CHILD = """
import sys, time
from tools.lab import Lab
from tools import lab_servers
with Lab(sys.argv[1]) as lab:
    node = lab.node("one")
    lab_servers.nginx(lab, node)
    print("built", flush=True)
    {then}
"""

# Asks an echo server; all it says up to the echo.
ASK = """
import socket, sys
kind, address, data, port = sys.argv[1:]
with socket.socket(type=getattr(socket, kind)) as sock:
    sock.settimeout(60)
    sock.bind(("", int(port)))
    sock.connect((address, 7))
    sock.sendall(data.encode())
    said = ""
    while not said.endswith(data):
        said += sock.recv(65536).decode()
    print(said, end="")
"""


def asked(node: Node, kind: str, address: str, data: str, port: int = 0) -> str:
    """What an echo server answers."""
    return node.run(sys.executable, "-c", ASK, kind, address, data, str(port))


def as_from_a_terminal() -> None:
    """Signals that a background job or nohup ignores would be ignored by the child too."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def child(name: str, then: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD.format(then=then), name],
        cwd=ROOT,
        preexec_fn=as_from_a_terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def built(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "built\n"


def test_two_hosts_on_a_cable_reach_each_other(lab: Lab) -> None:
    left, right = lab.node("left"), lab.node("right")
    lab.cable(left, "eth0", right, "eth0")
    left.address("198.18.0.1/24", "eth0")
    right.address("198.18.0.2/24", "eth0")
    assert "1 received" in left.run("ping", "-c", "1", "-W", "20", "198.18.0.2")
    assert "inet6" not in left.ip("addr", "show")


def test_every_server_answers_with_its_name_and_the_asker(two_arm: TwoArm) -> None:
    for address, server in two_arm.servers.items():
        answer = two_arm.client.run("curl", "-s", f"http://{address}/any/path")
        assert answer == f"{server.name} {net.CLIENT_BACK}\n"
    bulk = two_arm.client.run("curl", "-s", "-o", "/dev/null", "-w", "%{size_download}",
                              "http://198.19.0.11/bulk")  # fmt: skip
    assert int(bulk) == lab_servers.BULK_BYTES


def test_echo_server_tells_the_asker_over_tcp_and_udp(two_arm: TwoArm) -> None:
    server = two_arm.servers["198.19.0.11"]
    lab_servers.echo(two_arm.lab, server, tcp=7, udp=7)
    for kind in ("SOCK_STREAM", "SOCK_DGRAM"):
        answer = asked(two_arm.client, kind, "198.19.0.11", "hello", 5555)
        assert answer.split() == ["rs1", net.CLIENT_BACK, "5555", "hello"]


def test_udp_echo_answers_from_the_address_that_was_asked(two_arm: TwoArm) -> None:
    two_arm.answer_by("dr")
    server = two_arm.servers["198.19.0.12"]
    lab_servers.echo(two_arm.lab, server, udp=7)
    two_arm.client.route(f"{net.VIP}/32", "via", "198.19.0.12", "dev", "back")
    # A connected socket takes answers from the virtual address only.
    answer = asked(two_arm.client, "SOCK_DGRAM", net.VIP, "hi")
    assert answer.startswith("rs2 ")


def test_dr_servers_keep_the_virtual_address_to_themselves(two_arm: TwoArm) -> None:
    two_arm.answer_by("dr")
    two_arm.client.ip("route", "replace", f"{net.VIP}/32", "dev", "back", "scope", "link")
    asked = two_arm.client.call("ping", "-c", "1", "-W", "1", net.VIP)
    assert asked.returncode != 0
    two_arm.answer_by("fullnat")
    assert net.VIP not in two_arm.servers["198.19.0.11"].ip("addr", "show", "dev", "lo")


def test_taps_on_the_switches_get_complete_frames(two_arm: TwoArm, lab: Lab) -> None:
    """Over a wire between the balancer's taps, client and servers talk with right checksums."""
    log = lab.spawn(
        two_arm.lb,
        [sys.executable, lab_wire.__file__, net.WAN_TAP, net.LAN_TAP],
        label="wire",
        ready=lambda: two_arm.lb.has(net.LAN_TAP),
    )
    two_arm.plug_taps()
    server = two_arm.servers["198.19.0.13"]
    server.address("198.18.0.13/24", "eth0")
    lab_servers.echo(lab, server, udp=7)
    ask = ["curl", "-s", "-o", "/dev/null", "-w", "%{size_download}", "--max-time", "90"]
    assert int(two_arm.client.run(*ask, "http://198.18.0.13/bulk")) == lab_servers.BULK_BYTES
    upload = ["--data-binary", f"@{lab.directory}/nginx-rs1-80/bulk", "http://198.18.0.13/"]
    assert two_arm.client.call(*ask, *upload).returncode == 0
    answer = asked(two_arm.client, "SOCK_DGRAM", "198.18.0.13", "x" * 1000)
    assert answer.endswith("x" * 1000)
    assert log.read_text() == ""
    statistics = json.loads(two_arm.lb.ip("-s", "-j", "link", "show", net.WAN_TAP))[0]["stats64"]
    for direction in ("rx", "tx"):  # it all went through the tap
        assert statistics[direction]["bytes"] > lab_servers.BULK_BYTES


def test_wire_knows_a_wrong_checksum() -> None:
    ip = scapy.IP(src="198.18.0.1", dst="198.18.0.2")
    for transport in (scapy.TCP(), scapy.UDP()):
        right = bytes(scapy.Ether() / ip / transport / b"odd")
        assert lab_wire.fault(right) == ""
        assert "wrong checksum" in lab_wire.fault(right[:-1] + b"?")
        assert lab_wire.fault(right[:22] + b"\1" + right[23:]) == "wrong IPv4 checksum"
    assert "bytes" in lab_wire.fault(bytes(1515))


def test_tap_moved_into_a_host(lab: Lab) -> None:
    node = lab.node("one")
    name = f"t{os.getpid() % 10**8}"
    subprocess.run(["ip", "tuntap", "add", "mode", "tap", name], check=True)
    try:
        lab.adopt(name, node)
    except BaseException:
        subprocess.run(["ip", "link", "del", name], check=False)
        raise
    assert node.has(name)
    assert "address 02:1b:" not in node.ip("link", "show", name)
    assert "link/ether 02:1b:" in node.ip("link", "show", name)
    assert not Path(f"/sys/class/net/{name}").exists()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_removes_the_lab(sig: signal.Signals) -> None:
    name = f"sig{os.getpid()}"
    process = child(name, "time.sleep(60)")
    built(process)
    process.send_signal(sig)
    process.communicate(timeout=100)
    assert process.returncode != 0
    assert lab_scrap.leftovers(name) == []


def test_error_and_plain_exit_remove_the_lab() -> None:
    name = f"err{os.getpid()}"
    for then in ("1 / 0", "sys.exit(3)", "lab.__class__.__exit__ = None; sys.exit(4)"):
        process = child(name, then)
        built(process)
        process.communicate(timeout=100)
        assert process.returncode != 0
        assert lab_scrap.leftovers(name) == []


def test_killed_owner_leaves_a_lab_that_the_next_one_replaces() -> None:
    name = f"kill{os.getpid()}"
    process = child(name, "time.sleep(60)")
    built(process)
    process.kill()
    process.communicate(timeout=100)
    assert any("nginx" in thing for thing in lab_scrap.leftovers(name))
    with Lab(name) as lab:
        assert lab.nodes == {}
        assert lab_scrap.namespaces(name) == []
        lab_servers.nginx(lab, lab.node("one"))
    assert lab_scrap.leftovers(name) == []


def test_kept_lab_stays_until_it_is_swept() -> None:
    name = f"keep{os.getpid()}"
    process = child(name, "lab.keep()")
    built(process)
    process.communicate(timeout=100)
    assert process.returncode == 0
    try:
        assert any("nginx" in thing for thing in lab_scrap.leftovers(name))
        with pytest.raises(LabError, match="kept"), Lab(name):
            pass
    finally:
        lab_scrap.sweep(name)
    assert lab_scrap.leftovers(name) == []


def test_one_lab_of_a_name_at_a_time(lab: Lab) -> None:
    lab.node("one")
    with pytest.raises(LabError, match="in use"), Lab(lab.name):
        pass
    assert lab.nodes["one"].run("true") == ""


def test_failing_command_and_server_say_why(lab: Lab) -> None:
    node = lab.node("one")
    with pytest.raises(LabError, match=r"`ip -n \S+ link set nosuch up` failed .*nosuch"):
        node.up("nosuch")
    with pytest.raises(LabError, match=r"did not end within 0\.2 s"):
        node.run("sleep", "5", timeout=0.2)
    assert node.run("sh", "-c", "echo up; sleep 60 &") == "up\n"  # does not wait for a daemon
    with pytest.raises(LabError, match=r"talker .* ended \(4\): last words"):
        lab.spawn(node, ["sh", "-c", "echo last words; exit 4"], label="talker",
                  ready=lambda: False)  # fmt: skip
    began = time.monotonic()
    with pytest.raises(LabError, match="is not ready"):
        lab.spawn(node, ["sleep", "60"], label="mute", ready=lambda: False, timeout=0.3)
    assert time.monotonic() - began < 50


@pytest.mark.parametrize("name", ["", "A", "a-b", "a b", "../x", "x" * 25])
def test_bad_lab_name(name: str) -> None:
    with pytest.raises(LabError, match="bad lab name"):
        Lab(name)


@pytest.mark.parametrize("cidr", ["10.0.0.1/8", "1.1.1.1", "198.18.0.1/33", "::1/64", "x", ""])
def test_bad_lab_address(cidr: str) -> None:
    with pytest.raises(LabError, match="lab address"):
        permitted(cidr)


def test_bad_topology(lab: Lab) -> None:
    with pytest.raises(LabError, match="room for 1 to 100"):
        TwoArm(lab, servers=0)
    with pytest.raises(LabError, match="room for 1 to 50"):
        net.local_addresses(51)
    with pytest.raises(LabError, match="a TCP or a UDP port"):
        lab_servers.echo(lab, lab.node("one"))
    network = TwoArm.__new__(TwoArm)
    with pytest.raises(LabError, match="unknown forwarding mode 'bypass'"):
        network.answer_by("bypass")


def test_needs_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    lacking = lab_needs.lab_missing()
    assert "not root" in lacking
    assert "no nginx (Debian package nginx-light)" in lacking
    assert lab_needs.hugepages_missing(1 << 30)[0].endswith("needs 1073741824")
    assert socket.if_nameindex()  # the test's own namespace is untouched
