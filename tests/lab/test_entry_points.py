"""The scripts' own options, and how the demonstration judges what it sees."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tools import demo_check, lab_balancer, settings
from tools import lab_two_arm as net
from tools.demo_check import Answers, complaints
from tools.lab_node import LabError

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["rs1", "rs2", "rs3"]


def ran(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/nonexistent", **environment}
    return subprocess.run(words, capture_output=True, text=True, env=path, cwd=ROOT, timeout=200)


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["--bogus"], {}, "setup: unknown option --bogus (there are --test and --no-hugepages)"),
        ([], {"DPVS_HUGEPAGES": "many"}, "setup: DPVS_HUGEPAGES is 'many', not a number of pages"),
        ([], {"DPVS_HUGEPAGES": "-1"}, "setup: DPVS_HUGEPAGES is '-1', not a number of pages"),
    ],
)
def test_setup_refuses(words: list[str], environment: dict[str, str], said: str) -> None:
    done = ran("tools/setup.sh", *words, **environment)
    assert (done.returncode, done.stderr.strip()) == (2, said)


def test_setup_explains_itself() -> None:
    done = ran("tools/setup.sh", "--help")
    assert done.returncode == 0
    assert "--no-hugepages" in done.stdout and "Exit status" in done.stdout


@pytest.mark.parametrize(
    "words", [["--mode", "bypass"], ["--requests", "0"], ["--workers", "9"], ["--bogus"], ["x"]]
)
def test_demo_refuses(words: list[str]) -> None:
    done = ran(sys.executable, "-m", "tools.demo_main", *words)
    assert done.returncode == 2
    assert "Error" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_configuration_of_the_lab_is_valid(workers: int, tmp_path: Path) -> None:
    file = tmp_path / "dpvs.conf"
    file.write_text(lab_balancer.config("x", workers, tmp_path / "dpvs.log"))
    loaded = settings.load(str(file)).settings
    assert [device.name for device in loaded.devices] == ["dpdk0", "dpdk1"]
    assert len(loaded.worker_defs.forwarding) == workers
    assert loaded.global_defs.name == "x"


def test_command_beside_python_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(LabError, match=r"no command dpvs beside .* run tools/setup.sh first"):
        lab_balancer.program("dpvs")


@pytest.mark.parametrize(
    ("mode", "letter"), [("fullnat", "-b"), ("nat", "-m"), ("dr", "-g"), ("tunnel", "-i")]
)
def test_commands_of_each_mode(mode: str, letter: str) -> None:
    lines = lab_balancer.setup_commands(mode, 2, ["198.19.0.11", "198.19.0.12"])
    assert sum(line.endswith(letter) for line in lines) == 2
    assert sum(line.startswith("ipvsadm -P") for line in lines) == (2 if mode == "fullnat" else 0)


def answers(wanted: int, *counts: int, source: str = net.CLIENT_HOST) -> Answers:
    servers = Counter(dict(zip(NAMES, counts, strict=True)))
    return Answers(wanted, servers, Counter({source: servers.total()}), "curl: (28) timeout")


def judge(result: Answers, mode: str = "dr", workers: int = 1, connections: int = 300) -> str:
    return " / ".join(complaints(result, mode, workers, NAMES, connections))


def test_good_answers_give_no_complaint() -> None:
    assert judge(answers(300, 100, 100, 100)) == ""
    assert judge(answers(300, 101, 100, 99), workers=2) == ""
    assert judge(answers(300, 100, 100, 100, source="198.19.0.200"), "fullnat") == ""


def test_each_fault_gives_a_complaint() -> None:
    assert "unequal" in judge(answers(300, 101, 100, 99))
    assert "unequal" in judge(answers(300, 150, 150, 0))
    assert "200 of 300" in judge(answers(300, 67, 67, 66)) and "curl: (28)" in judge(
        answers(300, 67, 67, 66)
    )
    assert "0 of 300" in judge(answers(300, 0, 0, 0))
    assert "counted 299" in judge(answers(300, 100, 100, 100), connections=299)
    assert "instead of 198.19.0.200" in judge(answers(300, 100, 100, 100), "fullnat")
    stranger = answers(300, 100, 100, 100)
    stranger.servers["rs9"] += 1
    assert "no real server" in judge(stranger)


def test_connections_are_read_from_the_listing() -> None:
    listing = (
        "IP Virtual Server version 1.10.2 (size=0)\n"
        "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n"
        "  -> RemoteAddress:Port\n"
        f"TCP  {net.VIP}:80                       300     1800     1500   120000   180000\n"
        "  -> 198.19.0.11:80                    100      600      500    40000    60000\n"
    )
    assert demo_check.service_connections(listing) == 300
    assert demo_check.service_connections("TCP  203.0.113.1:80  5 5 5 5 5\n") is None
