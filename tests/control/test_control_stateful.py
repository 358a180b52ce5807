"""Random sequences of commands against the naive rules, and the stream against the snapshot."""

from __future__ import annotations

from control_fakes import Master, Replica, svc
from control_oracle import Addr, Oracle, Path, Svc
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tools.control import route_control
from tools.control.providers import DestCounters, LaddrCounters

# small worlds, so that commands meet each other
DEVS = st.sampled_from(["dpdk0", "dpdk1"])
ADDRS = st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.129"])
PLENS = st.sampled_from([24, 25, 32])
NETS = st.sampled_from(["192.0.2.0/24", "192.0.2.128/25", "10.0.0.0/8", "192.0.2.2/32"])
VIAS = st.sampled_from(["192.0.2.254", "192.0.2.1"])
PORTS = st.sampled_from([80, 80, 80, 81])
PICKS = st.integers(0, 4)
DESTS = st.tuples(
    st.sampled_from(["203.0.113.1", "203.0.113.2"]),
    st.just(1),
    st.sampled_from(["fullnat", "dr"]),
    st.integers(0, 1),
)


class ControlMachine(RuleBasedStateMachine):
    """What both machines check; their rules follow below."""

    def __init__(self) -> None:
        super().__init__()
        self.master, self.oracle = Master(), Oracle()
        self.replica = Replica().apply(self.master.published.take())
        self.owners: dict[int, tuple] = {}

    def check(self, expected: int, kind: str, **fields) -> None:
        reply = self.master.request(kind, **fields)
        assert (0 if reply["ok"] else reply["code"]) == expected, reply
        records = self.master.published.take()
        assert expected == 0 or records == []
        self.replica.apply(records)

    def add_address(self, addr, plen, dev, sapool, life):
        expires = self.master.clock() + life if life else None
        expected = self.oracle.addr_add(Addr(dev, addr, plen, sapool, expires))
        fields = {"addr": addr, "plen": plen, "dev": dev, "sapool": sapool, "valid_lft": life}
        self.check(expected, "addr.add", **fields)

    def delete_address(self, addr, plen, dev, pick):
        """Mostly one that is there: the `pick`-th."""
        if pick < len(self.oracle.addrs):
            one = self.oracle.addrs[pick]
            addr, plen, dev = one.addr, one.plen, one.dev
        expected = self.oracle.addr_del(dev, addr, plen)
        self.check(expected, "addr.del", addr=addr, plen=plen, dev=dev)

    @rule(number=st.integers(0, 2), cid=st.sampled_from([1, 2]), level=st.integers(0, 1))
    def traffic(self, number, cid, level):
        """Connections begin only to what is configured, and end at any time."""
        tables = self.replica.tables
        in_use = {dest["id"] for row in tables["svc"].values() for dest in row["dests"]}
        if number in in_use or not level:
            self.master.counters.dests[cid, number] = DestCounters(active=level)
        if (number,) in tables["laddr"] or not level:
            self.master.counters.laddrs[cid, number] = LaddrCounters(used=level)

    @rule(seconds=st.integers(0, 3))
    def time_passes(self, seconds):
        self.master.clock.now += seconds
        self.oracle.expire(self.master.clock.now)
        self.master.state.tick()
        self.replica.apply(self.master.published.take())

    @invariant()
    def the_stream_builds_what_the_snapshot_says(self):
        snapshot = Replica().apply(self.master.state.snapshot())
        assert self.replica.view() == snapshot.view()

    @invariant()
    def routes_are_those_of_the_naive_rules(self):
        rows = self.master.ok("route.show")
        shown = [
            (row["scope"], f"{row['dst']}/{row['plen']}", row["dev"], row["via"], row["src"])
            for row in rows
        ]
        expected = [
            ("host" if p.local else "global" if p.via else "link", p.dst, p.dev, p.via, p.src)
            for p in self.oracle.table()
        ]
        assert shown == expected
        preferred: dict[str, Path] = {}
        for path in self.oracle.table():
            preferred.setdefault(path.dst, path)
        published = {
            f"{body['dst']}/{body['plen']}": (body["kind"], body["dev"], body["via"], body["src"])
            for body in self.replica.tables["route"].values()
        }
        assert published == {
            dst: (
                "local" if path.local else "gateway" if path.via else "link",
                int(path.dev[-1]),
                path.via,
                self.oracle.source(path),
            )
            for dst, path in preferred.items()
        }

    @invariant()
    def services_are_those_of_the_naive_rules(self):
        rows = self.replica.tables["svc"].values()
        assert {row["port"] for row in rows} == set(self.oracle.svcs)
        names = {body["id"]: body["addr"] for body in self.replica.tables["laddr"].values()}
        for row in rows:
            expected = self.oracle.svcs[row["port"]]
            dests = [(d["addr"], d["port"], d["mode"], d["weight"]) for d in row["dests"]]
            assert dests == expected.dests
            usable = [addr for addr, dev in expected.laddrs if self.oracle.usable(addr, dev)]
            assert [names[number] for number in row["laddrs"]] == usable

    @invariant()
    def an_id_in_use_keeps_its_owner(self):
        owners = {}
        for row in self.replica.tables["svc"].values():
            for dest in row["dests"]:
                assert dest["id"] not in owners
                owners[dest["id"]] = (row["port"], dest["addr"], dest["port"])
        for number, owner in owners.items():
            if self.owners.setdefault(number, owner) != owner:
                assert self.master.state.traffic.dest_is_idle(number)
                self.owners[number] = owner


class InetMachine(ControlMachine):
    """Addresses, routes, neighbours.  More than one changed source is told in bulk."""

    def __init__(self) -> None:
        super().__init__()
        self.few, route_control._FEW = route_control._FEW, 1

    def teardown(self) -> None:
        route_control._FEW = self.few

    @initialize()
    def begin(self):
        self.add_address("192.0.2.1", 24, "dpdk0", False, 0)
        self.add_address("192.0.2.2", 24, "dpdk0", True, 0)

    @rule(addr=ADDRS, plen=PLENS, dev=DEVS, sapool=st.booleans(), life=st.sampled_from([0, 0, 3]))
    def addr_add(self, addr, plen, dev, sapool, life):
        self.add_address(addr, plen, dev, sapool, life)

    @rule(addr=ADDRS, plen=PLENS, dev=DEVS, pick=PICKS)
    def addr_del(self, addr, plen, dev, pick):
        self.delete_address(addr, plen, dev, pick)

    @rule(dst=NETS, dev=DEVS, src=st.none() | ADDRS)
    def link_route(self, dst, dev, src):
        expected = self.oracle.route_add(Path(False, dst, dev, src=src), dev)
        self.check(expected, "route.add", dst=dst, dev=dev, src=src)

    @rule(dst=NETS | st.just("0.0.0.0/0"), via=VIAS, dev=st.none() | DEVS)
    def gateway_route(self, dst, via, dev):
        expected = self.oracle.route_add(Path(False, dst, dev or "", via=via), dev)
        self.check(expected, "route.add", dst=dst, via=via, dev=dev)

    @rule(addr=ADDRS, dev=DEVS)
    def local_route(self, addr, dev):
        expected = self.oracle.route_add(Path(True, f"{addr}/32", dev), dev)
        self.check(expected, "route.add", dst=addr, dev=dev, scope="host")

    @rule(dst=NETS, dev=st.none() | DEVS, local=st.booleans())
    def route_del(self, dst, dev, local):
        if local and not dst.endswith("/32"):
            dst = "192.0.2.1/32"
        expected = self.oracle.route_del(local, dst, dev)
        self.check(expected, "route.del", dst=dst, dev=dev, scope="host" if local else None)

    @rule(dev=DEVS, what=st.sampled_from(["none"] * 8 + ["addr", "route"]))
    def flush(self, dev, what):
        if what == "addr":
            for one in [one for one in self.oracle.addrs if one.dev == dev]:
                self.oracle.addr_del(one.dev, one.addr, one.plen)
            self.check(0, "addr.flush", dev=dev, af="inet")
        elif what == "route":
            self.oracle.route_flush(dev)
            self.check(0, "route.flush", dev=dev)

    @rule(addr=ADDRS, mac=st.sampled_from(["02:00:00:00:00:0a", "02:00:00:00:00:0b"]), dev=DEVS)
    def neigh_add(self, addr, mac, dev):
        own = any((one.addr, one.dev) == (addr, dev) for one in self.oracle.addrs)
        self.check(-1 if own else 0, "neigh.add", addr=addr, lladdr=mac, dev=dev)


class IpvsMachine(ControlMachine):
    """Services, real servers, local addresses and the sapool addresses behind these."""

    @initialize()
    def begin(self):
        self.svc_add(80)
        self.dest_change("add", 80, ("203.0.113.1", 1, "fullnat", 1), 0)
        self.add_address("192.0.2.1", 32, "dpdk0", True, 0)

    @rule(addr=ADDRS, dev=DEVS, sapool=st.sampled_from([True, True, False]))
    def addr_add(self, addr, dev, sapool):
        self.add_address(addr, 32, dev, sapool, 0)

    @rule(addr=ADDRS, dev=DEVS, pick=PICKS)
    def addr_del(self, addr, dev, pick):
        self.delete_address(addr, 32, dev, pick)

    @rule(port=PORTS)
    def svc_add(self, port):
        expected = -3 if port in self.oracle.svcs else 0
        self.oracle.svcs.setdefault(port, Svc())
        self.check(expected, "svc.add", svc=svc(port=port), sched="rr")

    @rule(port=PORTS, timeout=st.integers(0, 2))
    def svc_edit(self, port, timeout):
        expected = 0 if port in self.oracle.svcs else -1
        self.check(expected, "svc.edit", svc=svc(port=port), conn_timeout=timeout)

    @rule(port=st.sampled_from(["none"] * 8 + [80, 81, "all"]))
    def svc_del(self, port):
        if port == "all":
            self.oracle.svcs.clear()
            self.check(0, "svc.flush")
        elif port != "none":
            expected = 0 if self.oracle.svcs.pop(port, None) else -1
            self.check(expected, "svc.del", svc=svc(port=port))

    @rule(
        verb=st.sampled_from(["add", "add", "edit", "del", "del"]),
        port=PORTS,
        dest=DESTS,
        pick=PICKS,
    )
    def dest_change(self, verb, port, dest, pick):
        known = self.oracle.svcs.get(port, Svc()).dests
        if verb != "add" and pick < len(known):
            dest = (*known[pick][:2], *dest[2:])
        expected = self.oracle.dest_change(verb, port, dest)
        fields = dict(zip(("addr", "port", "mode", "weight"), dest, strict=True))
        if verb == "del":
            del fields["mode"], fields["weight"]
        self.check(expected, f"dest.{verb}", svc=svc(port=port), **fields)

    @rule(port=PORTS, addr=ADDRS, dev=DEVS, add=st.booleans(), pick=PICKS)
    def laddr_change(self, port, addr, dev, add, pick):
        if pick < len(self.oracle.addrs):
            addr, dev = self.oracle.addrs[pick].addr, self.oracle.addrs[pick].dev
        change = self.oracle.laddr_add if add else self.oracle.laddr_del
        kind = "laddr.add" if add else "laddr.del"
        self.check(change(port, addr, dev), kind, svc=svc(port=port), addr=addr, dev=dev)


TestInet = InetMachine.TestCase
TestIpvs = IpvsMachine.TestCase
TestInet.settings = TestIpvs.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
