"""A worker that gets a long snapshot while routes go on changing ends with what the master has."""

from __future__ import annotations

import random
from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from control_fakes import Master, Replica, add, delete

from runtime.messages import Channel, MasterPort, WorkerPort, channel_bytes
from tests.memory import aligned
from tests.rig import Rig
from tests.routes_in import routes_in
from tools.control import route_control, route_rows
from tools.daemon.worker import serve

RING = 1 << 17  # a snapshot goes through it in many pieces
KINDS = {"local": 1, "link": 2, "gateway": 3}
OWN = {4: "198.18.0.1/24", 6: "2001:db8::1/64"}
VIA = {4: "198.18.0.254", 6: "2001:db8::fe"}
MORE = {4: ["198.18.0.2/24", "198.18.0.3/32"], 6: ["2001:db8::2/64", "2001:db8::3/128"]}


class Fleet:
    """A master whose records go to a real worker's tables through real rings."""

    def __init__(self) -> None:
        self.master = Master()
        self.memory, at = aligned(channel_bytes(RING), 128)
        self.channel, self.messages = Channel.create(at, RING), MasterPort()
        self.messages.add_worker(0, self.channel)
        self.master.published.publish = self.messages.cast_all
        self.faults: list[object] = []
        self.messages.on_event("error", lambda worker, body: self.faults.append(body))
        self.start_worker()

    def start_worker(self) -> None:
        """The process is another one; its rings are emptied."""
        self.messages.worker_down(0, "killed")
        self.rig = Rig()
        self.port = WorkerPort(self.channel)
        serve(self.rig.applier, self.port)

    def snapshot(self) -> None:
        self.messages.reset(0, self.master.state.snapshot())

    def move(self) -> int:
        """A little of what waits; how much."""
        return self.messages.poll() + self.port.handle_some(1, 0)

    def settle(self) -> None:
        while self.move() or not self.messages.settled(0):
            pass
        assert self.faults == [] and self.port.synced and self.port.failed == 0

    def check(self) -> None:
        """The worker's tables are the master's state."""
        rows = Replica().apply(self.master.state.snapshot()).tables["route"].values()
        for version in (4, 6):
            wanted = {
                (number(row["dst"]), row["plen"]): (
                    number(row["via"]), number(row["src"]), KINDS[row["kind"]],
                    row["dev"], row["mtu"],
                )
                for row in rows if (":" in row["dst"]) == (version == 6)
            }  # fmt: skip
            assert routes_in(self.rig, version) == wanted


def number(address: str | None) -> int:
    return int(ip_address(address)) if address else 0


def network(rng: random.Random, version: int) -> str:
    """One of a few thousand networks that nest in each other."""
    if version == 4:
        number, plen = 10 << 24 | rng.getrandbits(12) << 8, rng.choice([20, 24, 24, 24])
        return str(ip_network((number, plen), strict=False))
    number, plen = 0x20010DB8 << 96 | rng.getrandbits(12) << 64, rng.choice([56, 64, 64])
    return str(ip_network((IPv6Address(number), plen), strict=False))


def change(fleet: Fleet, rng: random.Random) -> None:
    """A command of an operator's; some are refused."""
    version, master = rng.choice([4, 6]), fleet.master
    dev = rng.choice(["dpdk0", "dpdk0", "dpdk1"])
    what, dst = rng.random(), network(rng, version)
    if what < 0.5:
        via = rng.choice([None, VIA[version]])
        master.request("route.add", dst=dst, via=via, dev=dev)
    elif what < 0.9:
        master.request("route.del", dst=dst, dev=dev)
    else:
        addr, plen = rng.choice(MORE[version]).split("/")
        verb = rng.choice(["addr.add", "addr.del"])
        master.request(verb, addr=addr, plen=int(plen), dev=dev)


@pytest.mark.parametrize("seed", [1, 2])
def test_snapshot_equals_the_state_after_changes_in_the_middle_of_it(seed, monkeypatch):
    monkeypatch.setattr(route_rows, "PER_MESSAGE", 20)
    monkeypatch.setattr(route_control, "_FEW", 10)
    rng, fleet = random.Random(seed), Fleet()
    for version in (4, 6):
        add(fleet.master, OWN[version])
    fleet.snapshot()
    for _ in range(1500):
        change(fleet, rng)
    for again in range(3):
        if again != 2:
            fleet.start_worker()  # the last time it has a table, of a state long ago
        else:
            fleet.settle()
            fleet.messages.worker_down(0, "does not keep up")
            for _ in range(300):
                change(fleet, rng)
        fleet.snapshot()
        while fleet.rig.applier.snapshot is None:
            fleet.move()
        pieces = 0
        while fleet.rig.applier.snapshot is not None:
            fleet.move()
            change(fleet, rng)
            pieces += 1
        assert pieces > 20
        fleet.settle()
        fleet.check()
    for version in (4, 6):
        delete(fleet.master, OWN[version])
    fleet.settle()
    fleet.check()
