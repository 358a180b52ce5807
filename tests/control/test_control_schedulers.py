"""Requests about user-written schedulers, and the commands that make them."""

from __future__ import annotations

import io

import pytest
from control_fakes import Master, svc

from tools import client, scheduler_cli
from tools.control.config_dump import command_lines

FIRST = "def choose(service, servers, packet):\n    return 0\n"


@pytest.fixture
def master():
    master = Master()
    master.ok("svc.add", svc=svc(), sched="rr")
    master.published.take()
    return master


class Transport:
    def __init__(self, master):
        self.master = master

    def call(self, kind, **fields):
        reply = self.master.request(kind, **fields)
        if reply["ok"]:
            return reply["data"]
        raise client.ControlError(reply["code"], reply["error"], reply["detail"])


def command(master, *words):
    """(status, output, error) of ``dpvs scheduler WORDS``."""
    out, err = io.StringIO(), io.StringIO()
    status = scheduler_cli.run(list(words), Transport(master), out, err)
    return status, out.getvalue(), err.getvalue()


def test_load_use_show_unload(master, tmp_path):
    path = tmp_path / "first.py"
    path.write_text(FIRST)
    assert master.refused("svc.add", svc=svc(port=90), sched="first")[0] == -4
    status, out, err = command(master, "load", str(path))
    assert (status, err) == (0, "") and out.startswith("first: loaded (")
    master.ok("svc.add", svc=svc(port=90), sched="first")
    kinds = [(kind, body.get("name") or body.get("sched")) for kind, body in
             master.published.take()]  # fmt: skip
    assert kinds == [("sched.set", "first"), ("svc.set", "first")]
    assert command(master, "show", "first")[1] == FIRST
    assert command(master, "show")[1].startswith("first: used by 1 service(s), ")
    assert f"dpvs scheduler load {path} first" in command_lines(master.state)
    assert command(master, "unload", "first")[2].strip().endswith("is used by a service")
    order = [kind for kind, _ in master.state.snapshot()]
    assert order.index("sched.set") < order.index("svc.set")
    master.ok("svc.del", svc=svc(port=90))
    assert command(master, "unload", "first") == (0, "", "")
    assert command(master, "show")[1] == ""


def test_mistakes(master, tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(FIRST + "    return 1.5\n")
    status, _, err = command(master, "load", str(path))
    assert status == 1 and "bad.py: line 3: 1.5 is no whole number" in err
    path.write_bytes(b"\xff\xfe")
    assert command(master, "load", str(path))[0] == 1
    path.write_text(FIRST)
    for words, told in (
        (("load", str(path), "rr"), "rr is a built-in scheduler"),
        (("load", str(path), "No"), "'No' is no scheduler name"),
        (("load", str(path), "a" * 16), "is no scheduler name"),
        (("load", str(tmp_path / "none.py")), "No such file"),
        (("unload", "none"), "there is no loaded scheduler 'none'"),
        (("show", "none"), "there is no loaded scheduler 'none'"),
        (("lod", str(path)), "is no scheduler command"),
        (("load",), "is no scheduler command"),
    ):
        status, _, err = command(master, *words)
        assert status == 1 and told in err, err
    assert master.published.take() == []


@pytest.mark.parametrize("fields", [{}, {"name": 1, "source": ""}, {"name": "x", "source": 5}])
def test_wrong_requests(master, fields):
    assert master.refused("sched.load", **fields)[0] == -1
