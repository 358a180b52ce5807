"""The servers a lab runs in its hosts."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.lab import Lab
from tools.lab_node import LabError, Node

BULK_BYTES = 1 << 20

# One process, everything it writes in the lab's directory, plain text answers.
NGINX_CONF = """\
daemon off;
master_process off;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    server {{
        listen {port} backlog=4096;
        listen [::]:{port} ipv6only=on backlog=4096;
        location / {{ return 200 "{name} $remote_addr\\n"; }}
        location = /bulk {{ alias bulk; }}
    }}
}}
"""


def nginx(lab: Lab, node: Node, port: int = 80) -> None:
    """Start nginx in `node`, on every address of it.

    Any path answers "<node name> <address of the asker>\\n", /bulk answers BULK_BYTES zeros.
    """
    home = lab.directory / f"nginx-{node.name}-{port}"
    (home / "temp").mkdir(parents=True)
    (home / "nginx.conf").write_text(NGINX_CONF.format(name=node.name, port=port))
    with (home / "bulk").open("wb") as bulk:
        bulk.truncate(BULK_BYTES)
    lab.spawn(
        node,
        ["nginx", "-p", str(home), "-c", "nginx.conf", "-e", "error.log"],
        label=f"nginx-{node.name}-{port}",
        ready=lambda: node.listening("tcp", port),
    )


def echo(lab: Lab, node: Node, *, tcp: int | None = None, udp: int | None = None) -> None:
    """Start the echo server of tools/lab_echo.py on a TCP port, a UDP port or both."""
    asked = [(proto, port) for proto, port in (("tcp", tcp), ("udp", udp)) if port is not None]
    if not asked:
        raise LabError("an echo server needs a TCP or a UDP port")
    script = Path(__file__).with_name("lab_echo.py")
    argv = [sys.executable, "-P", str(script), node.name]
    for proto, port in asked:
        argv += [f"--{proto}", str(port)]
    lab.spawn(
        node,
        argv,
        label=f"echo-{node.name}-{tcp or 0}-{udp or 0}",
        ready=lambda: all(node.listening(proto, port) for proto, port in asked),
    )


def decapsulator(lab: Lab, node: Node, device: str = "decap") -> None:
    """Make `node` the end of tunnels (tools/lab_decap.py), unless it is already."""
    if not node.has(device):
        script = str(Path(__file__).with_name("lab_decap.py"))
        lab.spawn(
            node,
            [sys.executable, "-P", script, device],
            label=f"decap-{node.name}",
            ready=lambda: node.has(device),
        )


def iperf3(lab: Lab, node: Node, port: int = 5201) -> None:
    """Start an iperf3 server in `node`."""
    lab.spawn(
        node,
        ["iperf3", "--server", "--port", str(port), "--forceflush"],
        label=f"iperf3-{node.name}-{port}",
        ready=lambda: node.listening("tcp", port),
    )
