"""An operator's mistakes, with and without a daemon: one line of error, nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_running import Running, running

from tools.lab_balancer import program
from tools.lab_node import call

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

# {vip} is a service with real servers 198.19.0.11 to .13, and no address but these is known.
MISTAKES = {
    "unknown service": "ipvsadm -D -t 192.0.2.250:80",
    "real server of an unknown service": "ipvsadm -a -t 192.0.2.250:80 -r 198.19.0.11:80 -b",
    "unknown real server": "ipvsadm -d -t {vip}:80 -r 198.19.0.99:80",
    "service twice": "ipvsadm -A -t {vip}:80 -s rr",
    "real server twice": "ipvsadm -a -t {vip}:80 -r 198.19.0.11:80 -b",
    "no port": "ipvsadm -A -t 192.0.2.250 -s rr",
    "bad address": "ipvsadm -A -t 192.0.2.256:80 -s rr",
    "bad port": "ipvsadm -A -t 192.0.2.250:65536 -s rr",
    "unknown scheduler": "ipvsadm -A -t 192.0.2.250:80 -s nosuch",
    "no real server": "ipvsadm -a -t {vip}:80",
    "bad weight": "ipvsadm -e -t {vip}:80 -r 198.19.0.11:80 -b -w x",
    "unknown option": "ipvsadm --bogus",
    "local address twice": "ipvsadm -P -t {vip}:80 -z 198.19.0.200 -F dpdk1",
    "unknown device of a local address": "ipvsadm -P -t {vip}:80 -z 198.19.0.201 -F dpdk9",
    "unknown local address": "ipvsadm -Q -t {vip}:80 -z 198.19.0.222 -F dpdk1",
    "address twice": "dpip addr add {vip}/32 dev dpdk0",
    "unknown address": "dpip addr del 192.0.2.250/32 dev dpdk0",
    "address on no device": "dpip addr add 192.0.2.250/32 dev dpdk9",
    "bad prefix": "dpip addr add 192.0.2.250/33 dev dpdk0",
    "device missing": "dpip addr add 192.0.2.250/32",
    "unknown route": "dpip route del 203.0.113.0/24 dev dpdk0",
    "gateway that is no address": "dpip route add 203.0.113.0/24 via 198.18.0.256 dev dpdk0",
    "unknown neighbour": "dpip neigh del 198.18.0.77 dev dpdk0",
    "unknown object": "dpip nosuch show",
    "unknown command": "dpvs nosuch",
    "unknown option of a command": "dpvs status --bogus",
}


@pytest.fixture(scope="module")
def lb() -> Iterator[Running]:
    """A balancer with one service, and its virtual address as ``vip``."""
    with running() as made:
        made.vip = made.service()  # type: ignore[attr-defined]
        yield made


def shown(lb: Running) -> list[str]:
    """Everything an operator can set."""
    lines = ("ipvsadm -Ln", "ipvsadm -G", "dpip addr show", "dpip route show")
    return [lb.op(line) for line in lines]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_named_and_changes_nothing(lb: Running, mistake: str) -> None:
    words = MISTAKES[mistake].format(vip=lb.vip).split()  # type: ignore[attr-defined]
    before = shown(lb)
    done = lb.attempt(*words)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert shown(lb) == before


@pytest.mark.parametrize(
    "line",
    ["ipvsadm -Ln", "ipvsadm -A -t 192.0.2.1:80 -s rr", "ipvsadm -C", "dpip addr show",
     "dpip addr add 192.0.2.1/32 dev dpdk0", "dpvs status", "dpvs stop", "dpvs top -n 1"],
)  # fmt: skip
def test_nothing_works_without_a_daemon(line: str) -> None:
    name, *words = line.split()
    done = call(["env", "DPVS_NAME=nobody-there", program(name), *words])
    assert done.returncode != 0
    first, *more = done.stderr.splitlines()
    assert "dpvs" in first
    assert more in ([], ["Are you sure that dpvs is running?"])  # ipvsadm's own second line
    assert "Traceback" not in done.stderr and done.stdout == ""
