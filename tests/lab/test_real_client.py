"""Real TCP stacks at both ends of FullNAT: the client's true address, every byte, a bad link.

The transfers run when DPVS_BULK_MB names their size (100 for the long run).
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_running import Running, eventually, running

from tools import lab_two_arm as net

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

STREAM = str(Path(__file__).with_name("lab_stream.py"))
PORT, PROXIED = 9000, 9080
MEGABYTES = int(os.environ.get("DPVS_BULK_MB", "4"))
SACK, WINDOW_SCALE = 2, 4
bulk = pytest.mark.skipif("DPVS_BULK_MB" not in os.environ, reason="DPVS_BULK_MB is not set")
NGINX = """\
daemon off;
master_process off;
pid nginx.pid;
error_log error.log warn;
events { worker_connections 64; }
http {
    access_log off;
    default_type text/plain;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    server {
        listen 9080 proxy_protocol;
        location / {
            return 200 "$proxy_protocol_addr $proxy_protocol_server_addr $remote_addr\\n";
        }
    }
}
"""


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """One worker; a bad link on the client's side; a bulk server and nginx on one real server."""
    with running() as made:
        server = made.servers["198.19.0.11"]
        made.lab.spawn(
            server,
            [sys.executable, "-P", STREAM, "serve", str(PORT)],
            label="stream",
            ready=lambda: server.listening("tcp", PORT),
        )
        home = made.lab.directory / "nginx-proxied"
        (home / "temp").mkdir(parents=True)
        (home / "nginx.conf").write_text(NGINX)
        made.lab.spawn(
            server,
            ["nginx", "-p", str(home), "-c", "nginx.conf", "-e", "error.log"],
            label="nginx-proxied",
            ready=lambda: server.listening("tcp", PROXIED),
        )
        yield made


def service(lb: Running, port: int, *options: str) -> str:
    """A FullNAT service with one real server."""
    vip = lb.new_vip("fullnat")
    lb.op(f"ipvsadm -A -t {vip}:{port} -s rr {' '.join(options)}")
    lb.op(f"ipvsadm -a -t {vip}:{port} -r 198.19.0.11:{port} -b")
    lb.op(f"ipvsadm -P -t {vip}:{port} -z 198.19.0.200 -F dpdk1")
    return vip


def transfer(lb: Running, vip: str, megabytes: int) -> tuple[dict, dict]:
    """Send data there and back; what client and server saw."""
    log = lb.lab.directory / "stream.log"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    sent = lb.client.run(
        sys.executable, "-P", STREAM, "send", vip, str(PORT), str(megabytes), timeout=300
    )
    lines = eventually(lambda: log.read_text().splitlines()[before:], 10)
    return json.loads(sent), json.loads(lines[-1])


def option_of(client: dict) -> str:
    """The TOA option that names the client's end of a connection."""
    address = ipaddress.IPv4Address(net.CLIENT_HOST).packed
    return (b"\xfe\x08" + client["port"].to_bytes(2, "big") + address).hex()


@bulk
def test_the_server_is_told_the_client(lb: Running) -> None:
    client, server = transfer(lb, service(lb, PORT), 1)
    assert client["same"] and client["sha"] == server["sha"]
    assert server["peer"] == "198.19.0.200" and server["toa"] == [option_of(client)]


@pytest.mark.parametrize("kind", ["v1", "v2", "v1-insecure", "v2-insecure"])
def test_nginx_is_told_by_the_proxy_protocol(lb: Running, kind: str) -> None:
    vip = service(lb, PROXIED, "--proxy-protocol", kind)
    answers = lb.curl(f"http://{vip}:{PROXIED}/", 5)
    assert answers == [f"{net.CLIENT_HOST} {vip} 198.19.0.200"] * 5
    assert f"pp{kind}" in lb.op("ipvsadm -Ln")


@bulk
def test_bulk_over_a_bad_link(lb: Running) -> None:
    """1 % of the frames lost and 1 % late, with SACK and window scaling: every byte arrives."""
    lb.network.lb.run("ip", "link", "set", "client", "nomaster")
    lb.network.lb.run("ip", "link", "add", "bad0", "type", "veth", "peer", "name", "bad1")
    for name in ("bad0", "bad1"):
        lb.network.lb.run("ethtool", "-K", name, "tx", "off")
        lb.network.lb.up(name)
    lb.network.lb.plug("bad1", "wan")
    lb.lab.spawn(
        lb.network.lb,
        [sys.executable, "-P", STREAM, "relay", "client", "bad0", "100"],
        label="relay",
        ready=lambda: True,
    )
    client, server = transfer(lb, service(lb, PORT), MEGABYTES)
    assert client["same"] and client["sha"] == server["sha"]
    assert server["bytes"] == MEGABYTES << 20
    assert server["toa"] == [option_of(client)]
    for end in (client, server):
        assert end["options"] & (SACK | WINDOW_SCALE) == SACK | WINDOW_SCALE
        assert end["again"] > 0, "the link was bad"
    assert server["sack"] > 0
    print(f"{MEGABYTES} MB both ways in {client['seconds']:.1f} s", file=sys.stderr)
