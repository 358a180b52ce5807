"""``dpvs top`` beside a balancer with traffic: its figures are those of the ports."""

from __future__ import annotations

import subprocess

import pytest

from tests.waiting import eventually
from tools import lab_two_arm as net
from tools.client import ControlClient, socket_path
from tools.lab import Lab
from tools.lab_balancer import Balancer, setup_commands
from tools.lab_two_arm import TwoArm

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


TOTALS = ("packets in", "packets out")


def number(cell: str) -> float:
    return float(cell.rstrip("kMG%")) * {"k": 1e3, "M": 1e6, "G": 1e9}.get(cell[-1], 1.0)


def pages(text: str) -> list[dict[str, dict[str, float]]]:
    """Each view's rows that have figures: first word -> column -> figure."""
    views: list[dict[str, dict[str, float]]] = []
    for block in text.strip().split("\n\n"):
        head, *rows = block.splitlines()
        if not rows:
            views.append({}) if head.startswith("dpvs ") else None
            continue
        names = [name.strip() for name in head.split("  ") if name.strip()]
        for row in rows:
            first, *cells = row.split()
            if "-" not in cells:
                key = f"{names[0]} {first}"
                views[-1][key] = dict(zip(names[1:], map(number, cells), strict=True))
    return views


@pytest.fixture
def balancer(lab: Lab) -> Balancer:
    network = TwoArm(lab)
    made = Balancer(network, workers=2)
    network.answer_by("fullnat")
    made.start()
    for line in setup_commands("fullnat", 2, list(network.servers)):
        made.operate(line)
    return made


def totals(control: ControlClient) -> tuple[int, int]:
    """Packets all ports received and sent."""
    rows = [row["stats"] for row in control.call("link.show", dev=None, stats=True, verbose=False)]
    return sum(row["ipackets"] for row in rows), sum(row["opackets"] for row in rows)


def test_figures_add_up_to_the_port_counters(balancer: Balancer) -> None:
    control = ControlClient(socket_path(balancer.name, {}))
    client = balancer.network.client
    load = subprocess.Popen(
        client.enter(["wrk", "-t1", "-c8", "-d60s", f"http://{net.VIP}/"]),
        stdout=subprocess.DEVNULL,
    )
    try:
        first = totals(control)
        eventually(lambda: totals(control)[1] > first[1] + 1000, "the load is there")
        before = totals(control)
        # Workers and ports are read one after the other: a pause in between must not be much.
        views = pages(balancer.operate("dpvs top -n 3 --interval 2"))
        after = totals(control)
    finally:
        load.terminate()
        load.wait()
    assert len(views) == 3
    for view in views:
        everybody, ports = view["worker all"], view["port total"]
        for name in ("in/s", "out/s"):
            assert everybody[name] == pytest.approx(ports[name], rel=0.2)
            assert everybody[name] > 100
        assert before[0] <= everybody["packets in"] <= after[0]
        assert before[1] <= everybody["packets out"] <= after[1]
        assert 0 < everybody["load"] <= 100
        stages = view["cycles a packet all"]
        assert 50 < stages["handle"] < 1e6 and stages["sum"] > stages["handle"]
        assert everybody["busy polls/s"] > 0 and everybody["idle polls/s"] > 0
        assert everybody["longest away, us"] > 0
    assert all(
        worker["counters"]["cycles_packets"] >= 0 for worker in control.call("counters")["workers"]
    )
    counted = control.call("counters")["workers"][0]["counters"]["cycles_packets"]

    # At rest all agree to the packet, and accounting is off again.
    client.run("curl", "-sS", f"http://{net.VIP}/")

    def at_rest() -> dict[str, dict[str, float]]:
        (view,) = pages(balancer.operate("dpvs top --once --interval 0.2 --no-stages"))
        workers, ports = view["worker all"], view["port total"]
        return view if all(workers[name] == ports[name] for name in TOTALS) else {}

    rest = eventually(at_rest, "workers and ports agree")
    quiet = control.call("counters")["workers"][0]["counters"]["cycles_packets"]
    assert quiet - counted < 20
    received, sent = totals(control)
    assert received - rest["worker all"]["packets in"] < 20
    assert sent - rest["worker all"]["packets out"] < 20
    rows = control.call("link.show", dev=None, stats=True, verbose=False)
    assert {f"port {row['name']}" for row in rows} < set(rest)
