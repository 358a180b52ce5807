"""dpvs doctor: the command, the instance, Python and its packages."""

import fcntl
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from doctor_hosts import CARD, CONFIG, HUGE, conf, find, host, put, worst

from netdev.abi import ABIS as KNOWN_ABIS
from runtime.shm_owner import Owner
from tools.doctor import config_checks, doctor, render, run_checks
from tools.doctor_host import Host, format_cpus, parse_cpus
from tools.doctor_software import ABIS, PACKAGES, python_checks

__all__ = ["host"]


def test_a_ready_host(host: Path) -> None:
    checks = run_checks(conf(), host)
    assert [check for check in checks if check.status != "ok"] == []
    assert render(checks).endswith(" ok, 0 to look at, 0 to mend")
    assert worst(host, None) == []
    assert worst(host, conf("tap")) == []


def test_running_instance(host: Path) -> None:
    me = Owner.me()
    put(host, "run/dpvs/lb1/lock", f"{me.pid} {me.start}\n")
    put(host, f"{HUGE}/free_hugepages", "0")
    with (host / "run/dpvs/lb1/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        checks = run_checks(conf(), host)
        assert find(checks, "instance").text == f"lb1 is running (pid {os.getpid()})"
        assert find(checks, "hugepages").status == "ok", "they are in use by the daemon"
    assert find(run_checks(conf(), host), "instance").text.startswith("lb1 does not run")


def test_name_of_the_instance(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(run_checks(None, host), "instance").text.startswith("dpvs does not run")
    monkeypatch.setenv("DPVS_NAME", "other")
    assert find(run_checks(conf(), host), "instance").text.startswith("other does not run")
    assert find(run_checks(conf(), host, "a/b"), "instance").status == "fail"


def test_an_empty_host(tmp_path: Path) -> None:
    for settings in (None, conf(), conf("tap")):
        checks = run_checks(settings, tmp_path)
        assert any(check.status == "fail" for check in checks)
        render(checks)


def versions(changes: dict[str, str | None]) -> Callable[[str], str | None]:
    good = {name: first for name, (first, _) in PACKAGES.items()}
    return lambda name: {**good, **changes}[name]


def test_python() -> None:
    assert [check.status for check in python_checks((3, 12, 1), versions({}))] == ["ok", "ok"]
    old, packages = python_checks((3, 9, 2), versions({"numba": None, "msgpack": "2.0rc1"}))
    assert (old.status, "python3.11" in old.fix) == ("fail", True)
    assert packages.text == "not usable: numba is missing, msgpack 2.0rc1"
    assert packages.fix.endswith("-m pip install 'numba>=0.61,<0.70' 'msgpack>=1.0.5,<2'")


def test_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    listed = sorted(f"{name}>={low},<{high}" for name, (low, high) in PACKAGES.items())
    assert listed == sorted(project["project"]["dependencies"])
    assert {number: abi.release for number, abi in KNOWN_ABIS.items()} == ABIS


def test_cpu_lists() -> None:
    assert parse_cpus("0-3,8, 10-11\n") == {0, 1, 2, 3, 8, 10, 11}
    assert parse_cpus("(null)") == parse_cpus("") == set()
    assert format_cpus({8, 0, 1, 3}) == "0-1,3,8"


def test_unreadable_files(tmp_path: Path) -> None:
    put(tmp_path, "n", "x")
    host = Host(tmp_path)
    assert (host.number("n"), host.number("none"), host.read("none")) == (None, None, None)
    assert (host.target("n"), host.names("n"), host.field("none", "x")) == (None, [], None)


def test_command(host: Path, tmp_path: Path) -> None:
    run = CliRunner()
    file = tmp_path / "lb.conf"
    file.write_text(CONFIG.replace("PORT", f"pci {CARD}").replace("EXTRA", ""))
    done = run.invoke(doctor, ["--config", str(file), "--root", str(host)])
    assert done.exit_code == 0, done.output
    assert f"ok    configuration  {file}\n" in done.output

    file.write_text("netif_defs {\n mut 3\n}\nneigh_defs {\n timeout 0\n}\n")
    done = run.invoke(doctor, ["--config", str(file), "--root", str(host)])
    assert done.exit_code == 1
    assert f"fail  configuration  {file}:2: netif_defs: unknown keyword 'mut'" in done.output
    assert f"fail  configuration  {file}:5: neigh_defs: timeout: 0 is out of range" in done.output

    put(host, "etc/dpvs.conf", "x\n")
    done = run.invoke(doctor, ["--root", str(host)])
    assert done.exit_code == 1
    assert "etc/dpvs.conf:1: unknown keyword 'x'" in done.output
    assert "Traceback" not in done.output


def test_command_shows_what_mends(host: Path) -> None:
    put(host, f"{HUGE}/free_hugepages", "1")
    done = CliRunner().invoke(doctor, ["--root", str(host)])
    assert "warn  hugepages" in done.output
    assert "run: sysctl -w vm.nr_hugepages=" in done.output
    assert done.exit_code == 0, "without a configuration it is not known how many are needed"


def test_warnings_of_a_configuration(host: Path, tmp_path: Path) -> None:
    file = tmp_path / "w.conf"
    extra = "ipset_defs {\n}\nglobal_defs {\n kni on\n}"
    file.write_text(CONFIG.replace("PORT", "ring").replace("EXTRA", extra))
    settings, checks = config_checks(str(file), host)
    assert settings is not None
    assert [check.status for check in checks] == ["warn", "warn"]
    assert "'ipset_defs' has no effect" in checks[0].text
