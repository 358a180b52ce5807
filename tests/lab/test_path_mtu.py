"""Smaller links on the way: the kernels at both ends learn the path MTU and go on.

Behind the balancer: rs1 routes to `far`, the real server, and its link there takes 1300 bytes;
rs1's own kernel complains.  In front: the balancer's route to the client takes 1400 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_family import endpoint
from lab_running import Running, running

from tools import lab_servers, lab_six
from tools import lab_two_arm as net

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

FAR, ROUTER_LINK = "203.0.113.9", "203.0.113.1"
FAR6, ROUTER_LINK6 = "2001:db8:77::9", "2001:db8:77::1"
FAR_MTU, CLIENT_MTU = 1300, 1400
FAR6_MTU = 1400  # IPv6 in IPv6 needs 1320 at least


def without_toa(text: str) -> str:
    """No option in a connection's first segments, whose room would be part of the MTU told."""
    return text.replace("ipvs_defs {", "ipvs_defs {\n    tcp {\n        toa off\n    }", 1)


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """One worker; the only real server stands behind a router with a smaller link."""
    with running(edit=without_toa) as made:
        router_address, router = next(iter(made.servers.items()))
        far = made.lab.node("far")
        made.lab.cable(far, "eth0", router, "far")
        far.address(f"{FAR}/24", "eth0")
        router.address(f"{ROUTER_LINK}/24", "far")
        router.sysctl("net.ipv4.ip_forward", "1")
        lab_servers.nginx(made.lab, far)
        made.op(f"dpip route add 203.0.113.0/24 via {router_address} dev dpdk1")
        made.servers = {FAR: far}
        yield made


def link_takes(lb: Running, mtu: int) -> None:
    """Set the link between rs1 and the far server up for packets of so many bytes.

    The server allows whole segments all the same, as one farther behind the link would.
    """
    router = lb.network.servers["198.19.0.11"]
    router.ip("link", "set", "far", "mtu", str(mtu))
    words = ("default", "via", ROUTER_LINK, "mtu", str(mtu), "advmss", "1460")
    lb.servers[FAR].route(*words)


def ends_tunnels(lb: Running) -> None:
    """The far server decapsulates, and answers clients around the balancer."""
    far, router = lb.servers[FAR], lb.network.servers["198.19.0.11"]
    lab_servers.decapsulator(lb.lab, far)
    router.route(f"{net.CLIENT_HOST}/32", "via", net.CLIENT_BACK)


def speaks_ipv6(lb: Running, mtu: int) -> None:
    """The same for IPv6, of which nothing was there; the server's route takes ``mtu`` bytes."""
    far, router = lb.servers[FAR], lb.network.servers["198.19.0.11"]
    router_address = next(address for address, node in lb.six.servers.items() if node is router)
    lab_six.begin(far, "eth0", lab_six.DECAP)
    lab_six.begin(router, "far")
    router.sysctl("net.ipv6.conf.all.forwarding", "1")
    lab_six.add_address(far, FAR6, 64, "eth0")
    lab_six.add_address(router, ROUTER_LINK6, 64, "far")
    words = ("default", "via", ROUTER_LINK6, "mtu", str(mtu), "advmss", "1440")
    far.ip("-6", "route", "replace", *words)
    router.ip("-6", "route", "replace", f"{lab_six.CLIENT_HOST}/128", "via", lab_six.CLIENT_BACK)
    lb.op(f"dpip route add {FAR6}/128 via {router_address} dev dpdk1")


def nat64(lb: Running) -> str:
    """A NAT64 service on the far server; its address."""
    vip = lb.new_vip("fullnat", 6)
    name = f"-t {endpoint(vip, 80)}"
    lb.op(f"ipvsadm -A {name} -s rr")
    lb.op(f"ipvsadm -a {name} -r {FAR}:80 -b")
    lb.op(f"ipvsadm -P {name} -z {net.local_addresses(1)[0]} -F dpdk1")
    return vip


def upload(lb: Running, vip: str) -> None:
    """A megabyte to the server."""
    bulk = f"@{lb.lab.directory}/nginx-rs1-80/bulk"
    sent = lb.client.run(
        "curl", "-sS", "-o", "/dev/null", "--max-time", "90", "-w", "%{size_upload} %{http_code}",
        "--data-binary", bulk, f"http://{endpoint(vip, 80)}/",
    )  # fmt: skip
    assert sent == f"{lab_servers.BULK_BYTES} 200"


def download(lb: Running, vip: str) -> None:
    """A megabyte from the server."""
    got = lb.client.run(
        "curl", "-sS", "-o", "/dev/null", "--max-time", "90", "-w", "%{size_download}",
        f"http://{endpoint(vip, 80)}/bulk",
    )  # fmt: skip
    assert int(got) == lab_servers.BULK_BYTES


def test_rfc7915_4_2_a_client_learns_the_mtu_of_the_ipv4_side(lb: Running) -> None:
    """Fragmentation needed of a router becomes packet too big, 20 bytes larger."""
    link_takes(lb, FAR_MTU)
    vip = nat64(lb)
    upload(lb, vip)
    assert f"mtu {FAR_MTU + 20} " in lb.client.run("ip", "-6", "route", "get", vip)
    download(lb, vip)


def test_rfc7915_5_2_a_server_learns_the_mtu_of_the_ipv6_side(lb: Running) -> None:
    """What is too big for the client's side is answered with 20 bytes less than its MTU."""
    link_takes(lb, 1500)
    vip = nat64(lb)
    way = f"{lab_six.CLIENT_HOST}/128 via {lab_six.CLIENT_LINK} dev dpdk0"
    lb.op(f"dpip route del {way}")
    lb.op(f"dpip route add {way} mtu {CLIENT_MTU}")
    download(lb, vip)
    local = net.local_addresses(1)[0]
    assert f"mtu {CLIENT_MTU - 20} " in lb.servers[FAR].run("ip", "route", "get", local)
    upload(lb, vip)


def test_rfc2003_5_1_a_client_learns_the_mtu_of_the_tunnel(lb: Running) -> None:
    """The router complains about the outer packet, the balancer tells the client of the inner."""
    link_takes(lb, FAR_MTU)
    ends_tunnels(lb)
    vip = lb.new_vip("dr")
    lb.op(f"ipvsadm -A -t {vip}:80 -s rr")
    lb.op(f"ipvsadm -a -t {vip}:80 -r {FAR}:80 -i")
    upload(lb, vip)
    assert f"mtu {FAR_MTU - 20} " in lb.client.run("ip", "route", "get", vip)
    download(lb, vip)


def test_rfc2473_8_clients_learn_the_mtu_of_tunnels_in_ipv6(lb: Running) -> None:
    """The same of 6 in 6 and of 4 in 6: packet too big, less the outer header of 40 bytes."""
    link_takes(lb, FAR6_MTU)
    ends_tunnels(lb)
    speaks_ipv6(lb, FAR6_MTU)
    six, four = lb.new_vip("fullnat", 6), lb.new_vip("dr")
    lab_six.add_address(lb.servers[FAR], six, 128, "lo")
    for vip in (six, four):
        lb.op(f"ipvsadm -A -t {endpoint(vip, 80)} -s rr")
        lb.op(f"ipvsadm -a -t {endpoint(vip, 80)} -r [{FAR6}]:80 -i")
        upload(lb, vip)
        assert f"mtu {FAR6_MTU - 40} " in lb.client.run("ip", "route", "get", vip)
        download(lb, vip)
