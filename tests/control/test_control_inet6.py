"""IPv6 addresses, routes and neighbours in the control plane."""

from __future__ import annotations

import ipaddress

import pytest
from control_fakes import Master, Replica, add, delete, table

from tools.control.config_dump import command_lines
from tools.control.providers import NeighbourRow
from tools.daemon.groups import Groups
from tools.daemon.link_local import eui64, give, identifier
from tools.settings_stack import Ipv6Defs

A, NET = "2001:db8:1::1", "2001:db8:1::"


@pytest.fixture
def master():
    master = Master()
    master.published.take()
    return master


def six(master, **more):
    return table(master, af="inet6", **more)


def test_an_address_makes_its_routes(master):
    add(master, f"{A}/64")
    kinds = master.published.take()
    assert kinds[0] == (
        "addr.set",
        {"addr": A, "plen": 64, "dev": 0, "sapool": False, "check": True},
    )
    assert [(k, b["dst"], b["plen"], b["kind"], b["src"]) for k, b in kinds[1:]] == [
        ("route.set", A, 128, "local", None),
        ("route.set", NET, 64, "link", A),
    ]
    assert six(master) == [f"{A}/128 host dpdk0", f"{NET}/64 link dpdk0 src {A}"]
    assert table(master, af="inet") == []
    assert "check" not in dict(master.state.snapshot())["addr.set"]
    delete(master, f"{A}/64")
    assert [kind for kind, _ in master.published.take()] == ["route.del", "route.del", "addr.del"]


def test_rfc6724_sources_by_scope_and_common_prefix(master):
    give(master.state, Ipv6Defs())
    add(master, f"{A}/64")
    add(master, "2001:db8:1:0:ffff::1/64")
    master.ok("route.add", dst="2001:db8:9::/48", via="2001:db8:1::fe")
    master.ok("route.add", af="inet6", dst="default", via="fe80::99", dev="dpdk0")
    master.ok("route.add", dst="2001:db8:1:0:ffff::/80", dev="dpdk0")
    sources = {
        f"{b['dst']}/{b['plen']}": b["src"]
        for b in Replica().apply(master.state.snapshot()).tables["route"].values()
        if b["dev"] == 0 and b["kind"] != "local"
    }
    own = str(ipaddress.IPv6Address(0xFE80 << 112 | eui64("02:00:00:00:00:00")))
    assert sources["fe80::/64"] == own
    assert sources["2001:db8:1:0:ffff::/80"] == "2001:db8:1:0:ffff::1"
    assert sources["2001:db8:9::/48"] in (A, "2001:db8:1:0:ffff::1")
    assert sources["::/0"] in (A, "2001:db8:1:0:ffff::1")
    assert "::/0 global dpdk0 via fe80::99" in six(master)


def test_rfc4862_5_4_5_a_duplicate_is_not_used(master):
    add(master, f"{A}/64")
    add(master, "2001:db8:1::2/64", valid_lft=100)
    address = ipaddress.IPv6Address
    master.published.take()
    assert master.state.inet.found_duplicate(0, address(A))
    assert six(master) == [
        "2001:db8:1::2/128 host dpdk0",
        f"{NET}/64 link dpdk0",  # its source is chosen again
    ]
    records = master.published.take()
    last = [b for k, b in records if k == "route.set"][-1]
    assert (last["dst"], last["src"]) == (NET, "2001:db8:1::2")
    assert records[-1] == ("addr.del", {"addr": A, "plen": 64, "dev": 0})
    kept = [b["addr"] for k, b in master.state.snapshot() if k == "addr.set"]
    assert kept == ["2001:db8:1::2"]  # a new worker must not announce it either
    master.ok("addr.set", addr=A, plen=64, dev="dpdk0", valid_lft=0)
    assert master.published.take() == []
    assert master.state.inet.found_duplicate(0, address(A)) and master.published.take() == []
    assert [row["addr"] for row in master.ok("addr.show")] == [A, "2001:db8:1::2"]
    assert master.state.inet.found_duplicate(0, address("2001:db8:1::2"))
    assert [row["addr"] for row in master.ok("addr.show")] == [A]
    assert not master.state.inet.found_duplicate(1, address(A))
    delete(master, f"{A}/64")
    assert six(master) == []


def test_listings_and_flushes_keep_the_families_apart(master):
    add(master, "192.0.2.1/24")
    add(master, f"{A}/64")
    assert [row["af"] for row in master.ok("addr.show")] == ["inet", "inet6"]
    assert [row["addr"] for row in master.ok("addr.show", af="inet6")] == [A]
    master.ok("route.flush", dev="dpdk0", af="inet6")
    assert six(master) == [f"{A}/128 host dpdk0"]
    assert len(table(master, af="inet")) == 2
    master.ok("addr.flush", dev="dpdk0", af="inet")
    assert [row["addr"] for row in master.ok("addr.show")] == [A]


def test_neighbours_of_both_families(master):
    add(master, f"{A}/64")
    mac = "02:aa:00:00:00:01"
    master.ok("neigh.add", addr="2001:db8:1::9", lladdr=mac, dev="dpdk0")
    assert master.published.take()[-1] == (
        "neigh.set",
        {"addr": "2001:db8:1::9", "dev": 0, "mac": mac, "static": True},
    )
    assert master.refused("neigh.add", addr=A, lladdr=mac, dev="dpdk0")[0] == -1
    assert master.state.inet.learn_neighbour(0, ipaddress.ip_address("fe80::7"), mac)
    assert not master.state.inet.learn_neighbour(0, ipaddress.ip_address("2001:db8:1::9"), mac)
    master.fleet.rows = [
        NeighbourRow(1, "2001:db8:1::9", mac, 0, "REACHABLE", True),
        NeighbourRow(1, "192.0.2.9", None, 0, "SEND", False),
        NeighbourRow(1, "2001:db8::1", mac, 0, "PROBE", False),
    ]
    assert [row["addr"] for row in master.ok("neigh.show")] == [
        "192.0.2.9", "2001:db8::1", "2001:db8:1::9",
    ]  # fmt: skip
    assert [row["addr"] for row in master.ok("neigh.show", af="inet")] == ["192.0.2.9"]


def test_the_dump_recreates_everything_but_what_makes_itself(master):
    give(master.state, Ipv6Defs())
    add(master, f"{A}/64")
    add(master, "fe80::1/64")
    master.ok("route.add", af="inet6", dst="default", via="2001:db8:1::fe")
    master.ok("neigh.add", addr="2001:db8:1::9", lladdr="02:aa:00:00:00:01", dev="dpdk0")
    assert command_lines(master.state) == [
        f"dpip addr add {A}/64 dev dpdk0",
        "dpip addr add fe80::1/64 dev dpdk0",
        "dpip -6 route add default via 2001:db8:1::fe dev dpdk0",
        "dpip neigh add 2001:db8:1::9 lladdr 02:aa:00:00:00:01 dev dpdk0",
    ]


def test_rfc4291_2_8_the_groups_a_port_lets_in():
    joined = []
    groups = Groups(lambda dev, macs: joined.append((dev, list(macs))))
    every = "33:33:00:00:00:01"
    for kind, address, plen in (
        ("addr.set", "192.0.2.1", 24),
        ("addr.set", "2001:db8::12:3456", 64),
        ("addr.set", "fe80::12:3456", 64),  # the same group
        ("addr.set", "2001:db8::1", 64),
        ("addr.del", "2001:db8::1", 64),
        ("addr.del", "2001:db8::12:3456", 64),
        ("addr.del", "fe80::12:3456", 64),
    ):
        groups.heard(kind, {"addr": address, "plen": plen, "dev": 1})
    groups.heard("route.set", {"dst": "2001:db8::", "plen": 64})
    group, other = "33:33:ff:12:34:56", "33:33:ff:00:00:01"
    assert joined == [(1, [every, group]), (1, [every, other, group]), (1, [every, group]), (1, [])]


def test_rfc4291_appendix_a_and_rfc7217_link_local_addresses(master):
    device = master.state.inet.devices[0]
    device.mac = "90:e2:ba:11:22:33"
    assert identifier(device, Ipv6Defs()) == 0x92E2BAFFFE112233
    assert identifier(device, Ipv6Defs(addr_gen_mode="none")) is None
    assert identifier(device, Ipv6Defs(disable=True)) is None
    private = Ipv6Defs(addr_gen_mode="stable-privacy", stable_secret="00" * 16)
    one = identifier(device, private)
    assert one == identifier(device, private) != identifier(device, Ipv6Defs())
    other = Ipv6Defs(addr_gen_mode="stable-privacy", stable_secret="01" * 16)
    assert identifier(device, other) != one
    random = Ipv6Defs(addr_gen_mode="random")
    assert identifier(device, random) != identifier(device, random)
    give(master.state, Ipv6Defs())
    rows = master.ok("addr.show", dev="dpdk0")
    assert [(r["addr"], r["plen"], r["scope"]) for r in rows] == [
        ("fe80::92e2:baff:fe11:2233", 64, "link")
    ]
