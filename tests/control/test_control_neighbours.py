from ipaddress import IPv4Address

import pytest
from control_fakes import Master, add

from tools.control.providers import NeighbourRow


@pytest.fixture
def master():
    master = Master()
    master.published.take()
    return master


def test_static_neighbours(master):
    master.ok("neigh.add", addr="192.0.2.9", lladdr="02:AA:00:00:00:01", dev="dpdk0")
    body = {"addr": "192.0.2.9", "dev": 0, "mac": "02:aa:00:00:00:01", "static": True}
    assert master.published.take() == [("neigh.set", body)]
    master.ok("neigh.add", addr="192.0.2.9", lladdr="02:aa:00:00:00:02", dev="dpdk0")
    assert master.published.take()[0][1]["mac"] == "02:aa:00:00:00:02"
    master.ok("neigh.del", addr="192.0.2.9", dev="dpdk0")
    assert master.published.take() == [("neigh.del", {"addr": "192.0.2.9", "dev": 0})]
    assert master.refused("neigh.del", addr="192.0.2.9", dev="dpdk0")[0] == -4


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"dev": "eth0"}, -27),
        ({"lladdr": "02:00:00:00:00"}, -1),
        ({"lladdr": "ff:ff:ff:ff:ff:ff"}, -1),
        ({"addr": "224.0.0.1"}, -1),
        ({"addr": "192.0.2.1"}, -1),
        ({"addr": "ff02::1"}, -1),
    ],
)
def test_refused_neighbours(master, change, code):
    add(master, "192.0.2.1/24")
    good = {"addr": "192.0.2.9", "lladdr": "02:aa:00:00:00:01", "dev": "dpdk0"}
    assert master.refused("neigh.add", **{**good, **change})[0] == code


def test_learnt_neighbours(master):
    inet, host = master.state.inet, IPv4Address("192.0.2.9")
    add(master, "192.0.2.1/24")
    master.published.take()
    assert inet.learn_neighbour(0, host, "02:aa:00:00:00:01")
    assert inet.learn_neighbour(0, host, "02:aa:00:00:00:01")
    # Each report is a sign of life that the other workers wait for.
    assert [kind for kind, _ in master.published.take()] == ["neigh.set", "neigh.set"]
    assert not inet.learn_neighbour(0, IPv4Address("192.0.2.1"), "02:aa:00:00:00:01")
    inet.lose_neighbour(0, host)
    assert master.published.take() == [("neigh.del", {"addr": "192.0.2.9", "dev": 0})]
    inet.set_neighbour(0, host, "02:aa:00:00:00:05")
    assert not inet.learn_neighbour(0, host, "02:aa:00:00:00:01")
    inet.lose_neighbour(0, host)
    assert len(inet.neighbours) == 1


def test_the_neighbour_heard_of_least_recently_makes_room(master, monkeypatch):
    monkeypatch.setattr("tools.control.neighbours.MAX_LEARNT", 2)
    monkeypatch.setattr("tools.control.neighbours.MAX_STATIC", 1)
    inet = master.state.inet
    hosts = [IPv4Address(f"192.0.2.{number}") for number in (7, 8, 9)]
    for host in (hosts[0], hosts[1], hosts[0], hosts[2]):
        assert inet.learn_neighbour(0, host, "02:aa:00:00:00:01")
    assert master.published.take()[-1] == ("neigh.del", {"addr": "192.0.2.8", "dev": 0})
    good = {"lladdr": "02:aa:00:00:00:05", "dev": "dpdk0"}
    master.ok("neigh.add", addr="192.0.2.7", **good)
    assert master.refused("neigh.add", addr="192.0.2.9", **good)[0] == -15
    master.ok("neigh.add", addr="192.0.2.7", lladdr="02:aa:00:00:00:06", dev="dpdk0")


def test_neighbours_are_what_the_workers_say(master):
    master.fleet.rows = [
        NeighbourRow(2, "192.0.2.9", "02:aa:00:00:00:01", 0, "REACHABLE"),
        NeighbourRow(1, "192.0.2.10", None, 1, "SEND"),
        NeighbourRow(1, "192.0.2.9", "02:aa:00:00:00:01", 0, "PROBE", True),
        NeighbourRow(1, "192.0.2.9", "02:aa:00:00:00:01", 9, "PROBE"),
    ]
    rows = master.ok("neigh.show")
    assert [(row["dev"], row["cid"], row["static"]) for row in rows] == [
        ("dpdk0", 1, True),
        ("dpdk0", 2, False),
        ("dpdk1", 1, False),
    ]
    assert rows[2]["lladdr"] is None
    assert len(master.ok("neigh.show", dev="dpdk1")) == 1
