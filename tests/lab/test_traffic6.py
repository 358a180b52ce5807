"""Real IPv6 clients through the balancer, to IPv6 and (NAT64) to IPv4 real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_running import LETTERS, Running, running

from tools import lab_servers, lab_six
from tools.lab_six import MODES, Six

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def lb() -> Iterator[tuple[Running, Six]]:
    """One worker and three nginx servers, both families."""
    with running() as made:
        six = Six(made.network)
        for line in six.commands():
            made.op(line)
        yield made, six


def service(lb: tuple[Running, Six], number: int, servers: list[str], mode: str) -> str:
    """A service on a virtual address of its own; its ``[address]``."""
    made, six = lb
    vip = f"2001:db8:80::{number}"
    made.op(f"dpip addr add {vip}/128 dev dpdk0")
    six.virtual(vip)
    six.answer_by(mode, vip)
    made.op(f"ipvsadm -A -t [{vip}]:80 -s rr")
    for server in servers:
        to = f"[{server}]" if ":" in server else server
        made.op(f"ipvsadm -a -t [{vip}]:80 -r {to}:80 -{LETTERS[mode]}")
    return vip


@pytest.mark.parametrize("mode", MODES)
def test_curl_reaches_the_servers_in_turn(lb: tuple[Running, Six], mode: str) -> None:
    made, six = lb
    vip = service(lb, MODES.index(mode) + 1, list(six.servers), mode)
    if mode == "fullnat":
        made.op(f"ipvsadm -P -t [{vip}]:80 -z {lab_six.LOCAL} -F dpdk1")
    answers = made.curl(f"http://[{vip}]/", 30)
    assert sorted(answer.split()[0] for answer in answers[:3]) == ["rs1", "rs2", "rs3"]
    assert answers == answers[:3] * 10
    seen = {answer.split()[1] for answer in answers}
    assert seen == ({lab_six.LOCAL} if mode == "fullnat" else {lab_six.CLIENT_HOST})
    assert f"TCP  [{vip}]:80 rr" in made.op("ipvsadm -Ln")
    assert made.op("ipvsadm -Lnc").count(f"[{vip}]:80") >= 30
    unharmed(made, vip)


def unharmed(made: Running, vip: str) -> None:
    """A megabyte each way."""
    ask = ["curl", "-sS", "-o", "/dev/null", "--max-time", "20"]
    got = made.client.run(*ask, "-w", "%{size_download}", f"http://[{vip}]/bulk", timeout=30)
    assert int(got) == lab_servers.BULK_BYTES
    bulk = f"@{made.lab.directory}/nginx-rs1-80/bulk"
    sent = made.client.run(
        *ask, "--data-binary", bulk, "-w", "%{size_upload} %{http_code}", f"http://[{vip}]/",
        timeout=30,
    )  # fmt: skip
    assert sent == f"{lab_servers.BULK_BYTES} 200"


def test_nat64_curl_reaches_ipv4_servers(lb: tuple[Running, Six]) -> None:
    """RFC 6146: curl -6 to nginx that speaks IPv4 only; a megabyte passes though the headers of
    the two families differ by 20 bytes (path MTU)."""
    made, _ = lb
    vip = service(lb, 64, list(made.servers), "fullnat")
    made.op(f"ipvsadm -P -t [{vip}]:80 -z 198.19.0.220 -F dpdk1")
    answers = made.curl(f"http://[{vip}]/", 30)
    assert sorted(answer.split()[0] for answer in answers[:3]) == ["rs1", "rs2", "rs3"]
    assert {answer.split()[1] for answer in answers} == {"198.19.0.220"}
    unharmed(made, vip)
