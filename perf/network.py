"""The network every benchmark plays: one port, many clients, sixteen real servers.

Everything leaves through the port it came in by (one arm), so a single capture file or generator
is enough and the same file can be given to other programs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

DEVICE = "dpdk0"
VIP = "192.0.2.100"
PORT = 80
ADDRESS = "198.19.0.1"
GATEWAY = "198.19.0.254"  # towards the clients, 198.18.0.0/16
SERVERS = tuple(f"198.19.0.{n}" for n in range(16, 32))
# 17 is coprime to 16: round robin over both reaches every pair, and so every port pool.
LOCALS = tuple(f"198.19.0.{n}" for n in range(200, 217))

MODES = ("fullnat", "nat", "dr", "tunnel")
PROTOCOLS = {"udp": 17, "tcp": 6}
SERVICE_OPTION = {"udp": "-u", "tcp": "-t"}
MODE_OPTION = {"fullnat": "-b", "nat": "-m", "dr": "-g", "tunnel": "-i"}

Service = tuple[str, str, int]  # protocol, address, port


def number(address: str) -> int:
    """Host-order number of an IPv4 address."""
    return int(ipaddress.IPv4Address(address))


def mac_of(address: str) -> bytes:
    """MAC address of one of our hosts: 02:bb and the IPv4 address."""
    return b"\x02\xbb" + ipaddress.IPv4Address(address).packed


def service_commands(
    service: Service, mode: str, local_addresses: Sequence[str] = LOCALS
) -> list[str]:
    """The operator's commands for one virtual service with all real servers."""
    proto, address, port = service
    key = f"{SERVICE_OPTION[proto]} {address}:{port}"
    lines = [f"ipvsadm -A {key} -s rr"]
    for server in SERVERS:
        lines.append(f"ipvsadm -a {key} -r {server}:{port} {MODE_OPTION[mode]} -w 1")
    if mode == "fullnat":
        lines += [f"ipvsadm -P {key} -z {local} -F {DEVICE}" for local in local_addresses]
    return lines


def links() -> list[str]:
    """The commands for our address, the way to the clients and static neighbours."""
    lines = [f"dpip addr add {ADDRESS}/24 dev {DEVICE}"]
    lines.append(f"dpip route add default via {GATEWAY} dev {DEVICE}")
    for host in (GATEWAY, *SERVERS):
        lines.append(f"dpip neigh add {host} lladdr {mac_of(host).hex(':')} dev {DEVICE}")
    return lines


def commands(
    services: Iterable[Service], mode: str, local_addresses: Sequence[str] = LOCALS
) -> list[str]:
    """All commands: links, the services' addresses, services."""
    lines, chosen = links(), list(services)
    for address in dict.fromkeys(address for _, address, _ in chosen):
        lines.append(f"dpip addr add {address}/32 dev {DEVICE}")
    for service in chosen:
        lines += service_commands(service, mode, local_addresses)
    return lines


def config(services: Iterable[Service], mode: str, vdev: str, table: int) -> str:
    """A dpvs.conf for these services over DPDK device ``vdev``, ``table`` connections."""
    return text(commands(services, mode), vdev, table)


def text(lines: Iterable[str], vdev: str, table: int) -> str:
    """A dpvs.conf with these commands."""
    body = "\n".join(f"    {line}" for line in lines)
    return f"""\
global_defs {{
    name perf
    log_level WARNING
    cpu_isolation off
    kni off
}}
netif_defs {{
    device {DEVICE} {{
        port vdev "{vdev}"
        rx {{
            queue_number 1
            rss off
        }}
        tx {{
            queue_number 1
        }}
    }}
}}
worker_defs {{
    worker cpu0 {{
        type master
        cpu_id 0
    }}
    worker cpu1 {{
        type slave
        cpu_id 1
        idle poll
        port {DEVICE} {{
            rx_queue_ids 0
            tx_queue_ids 0
        }}
    }}
}}
ipvs_defs {{
    conn {{
        conn_table_size {table}
    }}
    tcp {{
        toa off
    }}
}}
commands {{
{body}
}}
"""
