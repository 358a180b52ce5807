"""nginx behind FullNAT is told the client's true address by the PROXY protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_running import Running, running

from tools import lab_two_arm as net

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

PROXIED = 9080
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
    """One worker; an nginx that wants the header on one real server."""
    with running() as made:
        server = made.servers["198.19.0.11"]
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


@pytest.mark.parametrize("kind", ["v1", "v2", "v1-insecure", "v2-insecure"])
def test_nginx_is_told_by_the_proxy_protocol(lb: Running, kind: str) -> None:
    vip = lb.service("fullnat", PROXIED, weights=[1], options=f"--proxy-protocol {kind}")
    answers = lb.curl(f"http://{vip}:{PROXIED}/", 5)
    assert answers == [f"{net.CLIENT_HOST} {vip} 198.19.0.200"] * 5
    assert f"pp{kind}" in lb.op("ipvsadm -Ln")
