"""dpip addr, route and neigh: output byte for byte, and what is sent."""

import pytest
from cli_fakes import FakeTransport, run_dpip, sample

FOREVER = {"valid_lft": 0, "preferred_lft": 0}
LOCAL = {
    "af": "inet",
    "addr": "192.168.100.200",
    "plen": 32,
    "dev": "dpdk0",
    "broadcast": None,
    "scope": "global",
    **FOREVER,
    "sapool": True,
    "cid": 0,
}
LINK = {
    **LOCAL,
    "af": "inet6",
    "addr": "fe80::92e2:baff:fe11:2233",
    "plen": 64,
    "scope": "link",
    "sapool": False,
}
POOL = {"sa_used": 7, "sa_free": 1032169, "sa_miss": 0}
WORKERS = {
    **LOCAL,
    "addr": "10.0.0.1",
    "plen": 24,
    "dev": "dpdk1",
    "broadcast": "10.0.0.255",
    "valid_lft": 300,
    "preferred_lft": 200,
    "sapool": False,
    "cid": 1,
}

ADDRESSES = """\
inet 192.168.100.200/32 scope global dpdk0
     valid_lft forever preferred_lft forever
inet6 fe80::92e2:baff:fe11:2233/64 scope link dpdk0
     valid_lft forever preferred_lft forever
"""
POOLS = """\
inet 192.168.100.200/32 scope global dpdk0
     valid_lft forever preferred_lft forever sa_used 7 sa_free 1032169 sa_miss 0
"""
BY_WORKER = """\
[01] inet 10.0.0.1/24 scope global dpdk1
    broadcast 10.0.0.255 valid_lft 300 preferred_lft 200
"""


@pytest.mark.parametrize(
    ("command", "rows", "text", "fields"),
    [
        ("addr show", [LOCAL, LINK], ADDRESSES, {}),
        ("-s addr show", [{**LOCAL, **POOL}], POOLS, {"stats": True}),
        ("addr list --statistics", [{**LOCAL, **POOL}], POOLS, {"stats": True}),
        ("addr show -v", [WORKERS], BY_WORKER, {"verbose": True}),
        ("addr show dev d0 -6", [], "", {"dev": "d0", "af": "inet6"}),
        ("-f inet addr show", [], "", {"af": "inet"}),
        ("--family=inet addr show", [], "", {"af": "inet"}),
        ("--fam inet addr show", [], "", {"af": "inet"}),
    ],
)
def test_addr_show(command, rows, text, fields):
    outcome = run_dpip(command, FakeTransport(addr_show=rows))
    assert (outcome.status, outcome.out, outcome.err) == (0, text, "")
    defaults = {"dev": None, "af": None, "stats": False, "verbose": False}
    assert outcome.only_call == ("addr.show", {**defaults, **fields})


NEW_ADDRESS = {
    "addr": "10.0.0.1",
    "plen": 32,
    "dev": "dpdk0",
    "broadcast": None,
    "scope": "global",
    **FOREVER,
    "sapool": False,
}


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("10.0.0.1 dev dpdk0", {}),
        ("dev dpdk0 10.0.0.1/24", {"plen": 24}),
        ("10.0.0.1 dev dpdk1 dev dpdk0 sapool", {"sapool": True}),
        ("2001:DB8::1 dev dpdk0", {"addr": "2001:db8::1", "plen": 128}),
        ("10.0.0.1/24 dev dpdk0 broadcast 10.0.0.255", {"plen": 24, "broadcast": "10.0.0.255"}),
        ("10.0.0.1 dev dpdk0 scope link", {"scope": "link"}),
        ("10.0.0.1 dev dpdk0 scope 200", {"scope": "200"}),
        (
            "10.0.0.1 dev dpdk0 valid_lft 300 prefered_lft 200",
            {"valid_lft": 300, "preferred_lft": 200},
        ),
        ("10.0.0.1 dev dpdk0 valid_lft forever preferred_lft 9", {"preferred_lft": 9}),
    ],
)
@pytest.mark.parametrize("command", ["add", "set", "change"])
def test_addr_add_and_set(command, words, fields):
    outcome = run_dpip(f"addr {command} {words}")
    request = "addr.add" if command == "add" else "addr.set"
    assert outcome.only_call == (request, {**NEW_ADDRESS, **fields})
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_addr_del_and_flush():
    outcome = run_dpip("addr del 10.0.0.1/24 dev d0 sapool")
    assert outcome.only_call == ("addr.del", {"addr": "10.0.0.1", "plen": 24, "dev": "d0"})
    outcome = run_dpip("-6 addr flush dev d0")
    assert outcome.only_call == ("addr.flush", {"dev": "d0", "af": "inet6"})


def route(dst, plen, via, src, dev, scope) -> dict:
    return {
        "af": "inet6" if ":" in dst else "inet",
        "dst": dst,
        "plen": plen,
        "via": via,
        "src": src,
        "dev": dev,
        "mtu": 1500,
        "tos": 0,
        "scope": scope,
        "metric": 0,
    }


ROUTES = sample("""\
inet 192.168.100.200/32 via 0.0.0.0 src 0.0.0.0 dev dpdk0 mtu 1500 tos 0 scope host metric 0 \
proto auto |
inet 10.0.0.0/24 via 0.0.0.0 src 10.0.0.1 dev dpdk1 mtu 1500 tos 0 scope link metric 0 \
proto auto |
inet 0.0.0.0/0 via 10.0.0.254 src 0.0.0.0 dev dpdk1 mtu 1500 tos 0 scope global metric 0 \
proto auto |
""")
ROUTES6 = """\
inet6 2001:db8::10/128 dev dpdk0 mtu 1500 scope host
inet6 2001:db8::/64 dev dpdk0 mtu 1500 scope link
inet6 default via 2001:db8::1 dev dpdk0 mtu 1500 scope global
"""


def test_route_show():
    rows = [
        route("192.168.100.200", 32, None, None, "dpdk0", "host"),
        route("10.0.0.0", 24, "0.0.0.0", "10.0.0.1", "dpdk1", "link"),
        route("0.0.0.0", 0, "10.0.0.254", None, "dpdk1", "global"),
    ]
    outcome = run_dpip("route show", FakeTransport(route_show=rows))
    assert outcome.out == ROUTES
    assert outcome.only_call == ("route.show", {"af": "inet", "dev": None})


def test_route_show_ipv6():
    rows = [
        route("2001:db8::10", 128, None, None, "dpdk0", "host"),
        route("2001:db8::", 64, "::", "::", "dpdk0", "link"),
        route("::", 0, "2001:db8::1", None, "dpdk0", "global"),
    ]
    outcome = run_dpip("-6 route show dev dpdk0", FakeTransport(route_show=rows))
    assert outcome.out == ROUTES6
    assert outcome.only_call == ("route.show", {"af": "inet6", "dev": "dpdk0"})


def test_route6_with_source_and_without_mtu():
    row = {**route("2001:db8::", 64, None, "2001:db8::5", "d0", "link"), "mtu": 0}
    outcome = run_dpip("-6 route show", FakeTransport(route_show=[row]))
    assert outcome.out == "inet6 2001:db8::/64 src 2001:db8::5 dev d0 scope link\n"


NEW_ROUTE = {
    "af": "inet",
    "dst": "10.0.0.0/24",
    "via": None,
    "src": None,
    "dev": None,
    "scope": None,
    "mtu": 0,
    "metric": 0,
}


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("10.0.0.0/24 dev d0", {"dev": "d0"}),
        ("default via 10.0.0.254", {"dst": "default", "via": "10.0.0.254"}),
        ("10.0.0.9", {"dst": "10.0.0.9/32"}),
        ("0.0.0.0/0 via 10.0.0.1", {"dst": "0.0.0.0/0", "via": "10.0.0.1"}),
        ("10.0.0.0/24 scope kni_host src 10.0.0.1", {"scope": "kni_host", "src": "10.0.0.1"}),
        ("10.0.0.0/24 local mtu 1400 metric 7", {"scope": "host", "mtu": 1400, "metric": 7}),
        ("10.0.0.0/24 tos 4 proto static onlink", {}),
        ("2001:db8::/64 dev d0", {"af": "inet6", "dst": "2001:db8::/64", "dev": "d0"}),
        ("default via 2001:db8::1", {"af": "inet6", "dst": "default", "via": "2001:db8::1"}),
        ("-6 default dev d0", {"af": "inet6", "dst": "default", "dev": "d0"}),
    ],
)
@pytest.mark.parametrize("command", ["add", "del"])
def test_route_changes(command, words, fields):
    outcome = run_dpip(f"route {command} {words}")
    assert outcome.only_call == (f"route.{command}", {**NEW_ROUTE, **fields})
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (
            "-v route add default via 10.0.0.254 dev d1",
            "inet 0.0.0.0/0 via 10.0.0.254 src 0.0.0.0 dev d1 mtu 0 tos 0 scope global metric 0 "
            "proto auto \n",
        ),
        (
            "-v route del 10.0.0.0/24",
            "inet 10.0.0.0/24 via 0.0.0.0 src 0.0.0.0 dev  mtu 0 tos 0 scope link metric 0 "
            "proto auto \n",
        ),
        ("-v route add 2001:db8::5 dev d0 local", "inet6 2001:db8::5/128 dev d0 scope host\n"),
    ],
)
def test_verbose_route_change_shows_the_route_first(command, text):
    assert run_dpip(command).out == text


def test_route_flush():
    assert run_dpip("route flush dev d0").only_call == ("route.flush", {"dev": "d0"})


NEIGHBOURS = sample("""\
ip: 192.168.100.1                                    mac: 00:11:22:33:44:55   \
state: REACHABLE     dev: dpdk0  core: 1  |
ip: 192.168.100.77                                   mac:incomplate                       \
state: SEND           dev: dpdk0  core: 1  |
ip: 2001:db8::2                                      mac: 00:11:22:33:44:66   \
state: REACHABLE     dev: dpdk0  core: 2  static
""")
NEIGHBOUR_ROWS = [
    {
        "addr": "192.168.100.1",
        "lladdr": "00:11:22:33:44:55",
        "state": "REACHABLE",
        "dev": "dpdk0",
        "cid": 1,
        "static": False,
    },
    {
        "addr": "192.168.100.77",
        "lladdr": None,
        "state": "SEND",
        "dev": "dpdk0",
        "cid": 1,
        "static": False,
    },
    {
        "addr": "2001:db8::2",
        "lladdr": "00:11:22:33:44:66",
        "state": "REACHABLE",
        "dev": "dpdk0",
        "cid": 2,
        "static": True,
    },
]


def test_neigh_show():
    outcome = run_dpip("neigh show", FakeTransport(neigh_show=NEIGHBOUR_ROWS))
    assert outcome.out == NEIGHBOURS
    assert outcome.only_call == ("neigh.show", {"dev": None})
    six = run_dpip("-6 neigh show dev dpdk0", FakeTransport(neigh_show=NEIGHBOUR_ROWS))
    assert six.out == NEIGHBOURS.splitlines(keepends=True)[2]
    assert six.only_call == ("neigh.show", {"dev": "dpdk0"})


def test_neigh_changes():
    outcome = run_dpip("neigh add 10.0.0.1 lladdr 0:11:22:AA:bb:0c dev d0")
    fields = {"addr": "10.0.0.1", "lladdr": "00:11:22:aa:bb:0c", "dev": "d0"}
    assert outcome.only_call == ("neigh.add", fields)
    outcome = run_dpip("neigh del 2001:db8::1 dev d0")
    assert outcome.only_call == ("neigh.del", {"addr": "2001:db8::1", "dev": "d0"})
