"""Starts that must be refused: one clear reason, and nothing left behind."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab_running import traces

from tools import lab_balancer, lab_scrap, launch
from tools.daemon import hugepages
from tools.lab import Lab
from tools.lab_balancer import MACS, program
from tools.lab_node import Node, call

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

GOOD = """
commands {
    dpip addr add 198.18.0.1/24 dev dpdk0
    dpip addr add 192.0.2.1/32 dev dpdk0
    ipvsadm -A -t 192.0.2.1:80 -s rr
    ipvsadm -a -t 192.0.2.1:80 -r 198.18.0.9:80 -m
}
"""


def commands(last: str) -> Callable[[str], str]:
    """The configuration with commands that work, and one more."""
    return lambda text: text + GOOD.replace("}\n", f"    {last}\n}}\n")


def change(old: str, new: str) -> Callable[[str], str]:
    """The configuration with all of one text replaced."""

    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return edit


# What is changed in a good configuration, and how the last line on standard error begins.
TAP = f"tap iface=lbwan mac={MACS['dpdk0']}"
FILE = r"\S+/dpvs\.conf:(\d+:)? "  # without a number: something is missing altogether
REFUSED = {
    "unknown scheduler": (
        commands("ipvsadm -E -t 192.0.2.1:80 -s nosuch"),
        FILE + r"ipvsadm -E -t 192\.0\.2\.1:80 -s nosuch: ipvsadm: .*nosuch",
    ),
    "service twice": (
        commands("ipvsadm -A -t 192.0.2.1:80 -s rr"),
        FILE + r"ipvsadm -A -t 192\.0\.2\.1:80 -s rr: ipvsadm: .*exist",
    ),
    "no such device": (
        commands("dpip addr add 198.18.9.1/24 dev dpdk9"),
        FILE + r"dpip addr add 198\.18\.9\.1/24 dev dpdk9: dpip: .*dpdk9",
    ),
    "not a command": (commands("rm -rf nothing"), FILE + r".*rm"),
    "unbalanced quote": (commands("ipvsadm -A -t '192.0.2.1:80"), FILE),
    "unknown keyword": (change("queue_number", "queue_nummer"), FILE + ".*queue_nummer"),
    "impossible queue": (change("rx_queue_ids 0", "rx_queue_ids 7"), FILE + ".*queue"),
    "no such cpu": (change("idle adaptive\n", "idle adaptive\n        cpu_id 999\n"), FILE),
    "device without port": (change(f"port {TAP}", "promisc_mode"), FILE + ".*dpdk0"),
    "not a kind of port": (change(TAP, "tape"), FILE + ".*tape"),
    "interface of a tap twice": (change("lblan", "lbwan"), "."),
    "no such card": (
        change(f"port {TAP}", "port pci 0000:7f:1f.7"),
        r"device dpdk0: .*0000:7f:1f\.7",
    ),
    "capture file that is not there": (
        change(f"port {TAP}", "port pcap rx=/nonexistent/in.pcap tx=/dev/null"),
        ".*(dpdk0|net_pcap0|/nonexistent)",
    ),
    "table that no memory holds": (
        change("conn_pool_size 131071", "conn_pool_size 2147483647"),
        ".*(hugepages|memory)",
    ),
    "brace missing": (change("ipvs_defs {", "ipvs_defs"), FILE),
}


@pytest.fixture(scope="module")
def host() -> Iterator[tuple[Lab, Node]]:
    """A host to start daemons in."""
    with Lab(f"starts{os.getpid()}") as lab:
        yield lab, lab.node("lb")
    assert lab.leftovers() == []


def start(host: tuple[Lab, Node], text: str, *words: str) -> tuple[str, list[str]]:
    """Start a daemon with a configuration that must be refused; its name and what it says."""
    lab, node = host
    config = lab.directory / "dpvs.conf"
    config.write_text(text)
    name = lab_scrap.instance(lab.name)
    argv = [program("dpvs"), "start", "--config", str(config), *words]
    done = call(node.enter(argv), timeout=600)
    if done.returncode == 0:
        lab_balancer.stop(name)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert traces(name) == []
    assert lab_scrap.residents(node.netns) == []
    assert not node.has("lbwan") and not node.has("lblan")
    return name, done.stderr.splitlines()


def good(host: tuple[Lab, Node]) -> str:
    """A configuration that works."""
    lab, _ = host
    return lab_balancer.config(lab_scrap.instance(lab.name), 1, lab.directory / "dpvs.log")


@pytest.mark.parametrize("case", REFUSED)
def test_start_is_refused_with_the_reason(host: tuple[Lab, Node], case: str) -> None:
    edit, expected = REFUSED[case]
    _, said = start(host, edit(good(host)))
    assert re.match("dpvs: " + expected, said[0]), said
    assert len(said) == 1 or expected.startswith(FILE), said
    assert all(re.match("(dpvs: )?" + FILE, line) for line in said if len(said) > 1), said


def test_line_of_a_failing_command_is_named(host: tuple[Lab, Node]) -> None:
    text = commands("ipvsadm -D -t 192.0.2.77:80")(good(host))
    number = text.splitlines().index("    ipvsadm -D -t 192.0.2.77:80") + 1
    _, said = start(host, text)
    assert said[0].startswith(f"dpvs: {host[0].directory}/dpvs.conf:{number}: ipvsadm -D")


@pytest.mark.parametrize("name", ["a/b", "", "..", "x" * 65, "-x", "a b"])
def test_impossible_names(host: tuple[Lab, Node], name: str) -> None:
    _, said = start(host, good(host), f"--name={name}")
    assert len(said) == 1 and "name" in said[0]


@pytest.mark.parametrize("path", ["/nonexistent/dpvs.conf", "/", "/dev/null/x", "/etc/hostname"])
def test_impossible_files(path: str) -> None:
    done = call([program("dpvs"), "start", "--config", path, "--name", "nofile"])
    assert done.returncode == 1 and path in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert traces("nofile") == []


def test_start_by_somebody_else(host: tuple[Lab, Node], tmp_path: Path) -> None:
    config = tmp_path / "dpvs.conf"
    config.write_text(good(host))
    for path in (tmp_path, *tmp_path.parents):
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(0o755)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    environment = {"PATH": "/usr/bin:/bin", "DPVS_CACHE_DIR": str(tmp_path / "cache")}
    argv = [*nobody, program("dpvs"), "start", "--config", str(config), "--name", "nobody"]
    done = call(argv, env=environment)
    assert done.returncode == 1 and done.stderr.endswith("run as root\n")
    assert len(done.stderr.splitlines()) == 1


def test_hugepages_that_do_not_exist_are_not_taken_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel gives what it has, up to the last page: it must not be asked for too many."""
    (tmp_path / "free_hugepages").write_text("10\n")
    (tmp_path / "nr_hugepages").write_text("20\n")
    monkeypatch.setattr(hugepages, "POOL", tmp_path)
    with pytest.raises(hugepages.DpdkError, match="1000000000 free hugepages of 2 MB needed, 10"):
        hugepages.ensure(1_000_000_000)
    assert (tmp_path / "nr_hugepages").read_text() == "20\n"


def test_hugepages_are_given_back_when_they_do_not_suffice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "free_hugepages").write_text("10\n")
    (tmp_path / "nr_hugepages").write_text("20\n")
    monkeypatch.setattr(hugepages, "POOL", tmp_path)
    with pytest.raises(hugepages.DpdkError, match="12 free hugepages of 2 MB needed, 10"):
        hugepages.ensure(12)  # the pretended kernel gives none
    assert int((tmp_path / "nr_hugepages").read_text()) == 20


def test_errors_of_a_daemon_are_kept_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "RUN_ROOT", tmp_path)
    folder = tmp_path / "x"
    for text, failed, stays in (("", True, False), ("why", True, True), ("old", False, False)):
        folder.mkdir(exist_ok=True)
        (folder / launch.ERRORS).write_text(text)
        assert launch.tidy("x", failed) is not stays
        assert folder.exists() is stays
